r"""`symbol_lines`: removes lines that consist of symbols, with datatrove's SymbolLinesFormatter.

It joins the remaining lines with `\n`, replacing other line ends, and drops the end of the last line.
"""

from __future__ import annotations

import importlib
from typing import Annotated

from pydantic import AfterValidator

from mixproof.pipeline.steps.document import Document
from mixproof.pipeline.steps.step import Apply, Options, Strings

VERSION = 1


def _single(symbols: tuple[str, ...]) -> tuple[str, ...]:
    for symbol in symbols:
        if len(symbol) != 1:
            raise ValueError(f"symbols are single characters, {symbol!r} is {len(symbol)}")
    return symbols


Symbols = Annotated[Strings, AfterValidator(_single)]


class SymbolLinesOptions(Options):
    """The options of datatrove's SymbolLinesFormatter."""

    symbols_to_remove: Symbols | None = None
    """Single characters; None: datatrove's punctuation marks and control characters."""
    replace_char: str = ""
    """Replaces each run of such lines; empty: the lines are removed."""


def make_symbol_lines(options: SymbolLinesOptions) -> Apply:
    """Remove lines; no document is dropped."""
    formatter = importlib.import_module("datatrove.pipeline.formatters").SymbolLinesFormatter(**options.model_dump())

    def apply(document: Document) -> str:
        return str(formatter.format(document.text))

    return apply
