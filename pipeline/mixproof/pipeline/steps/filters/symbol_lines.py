r"""`symbol_lines`: lines of nothing but symbols are taken out, by datatrove's SymbolLinesFormatter as it is.

Like datatrove's it joins what is left with `\n`, whatever the lines ended with, and drops the last line's end.
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
    """As datatrove's SymbolLinesFormatter."""

    symbols_to_remove: Symbols | None = None
    """Single characters; None: datatrove's punctuation marks and control characters."""
    replace_char: str = ""
    """Stands for a run of such lines; none: they leave nothing."""


def make_symbol_lines(options: SymbolLinesOptions) -> Apply:
    """Take lines out; no document is dropped."""
    formatter = importlib.import_module("datatrove.pipeline.formatters").SymbolLinesFormatter(**options.model_dump())

    def apply(document: Document) -> str:
        return str(formatter.format(document.text))

    return apply
