"""`fineweb_quality`: FineWeb's rules (arXiv 2406.17557, section 3.6), as datatrove's FineWebQualityFilter.

Differences from datatrove: a document in a language without a word tokenizer is dropped as `no_words_<language>`; one
without any word is a list (`list_ratio`), on which datatrove divides by zero.
"""

from __future__ import annotations

import functools
import importlib
from typing import Annotated

from pydantic import Field

from mixproof.pipeline.steps.document import Document
from mixproof.pipeline.steps.languages import LanguageDependentOptions
from mixproof.pipeline.steps.step import Apply, Drop, Number, Share, Strings, Whole

from .gopher_repetition import find_duplicates

VERSION = 3


class FinewebQualityOptions(LanguageDependentOptions):
    """The options of datatrove's FineWebQualityFilter."""

    line_punct_thr: Share = 0.12
    """Minimum share of lines that end with one of `stop_chars`."""
    line_punct_exclude_zero: bool = False
    stop_chars: Strings | None = None
    """None: datatrove's marks, of all scripts."""
    short_line_thr: Share = 0.67
    short_line_length: Whole = 30
    """Characters."""
    char_duplicates_ratio: Share = 0.01
    new_line_ratio: Annotated[Number, Field(ge=0)] = 0.3
    """Maximum number of line breaks per word."""


def make_fineweb_quality(options: FinewebQualityOptions) -> Apply:
    """Drop by datatrove's reasons: `empty`, `line_punct_ratio`, `short_line_ratio`, `char_dup_ratio`, `list_ratio`."""
    options_of = functools.cache(options.of)

    def apply(document: Document) -> str | Drop:
        language = options.language_of(document)
        reason = _fault(document, options_of(language), language)
        return document.text if reason is None else Drop(reason)

    return apply


def _fault(document: Document, options: FinewebQualityOptions, language: str) -> str | None:
    text = document.text
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    if not lines:
        return "empty"
    ratio = _ended(lines, options.stop_chars) / len(lines)
    if ratio < options.line_punct_thr and not (ratio == 0 and options.line_punct_exclude_zero):
        return "line_punct_ratio"
    short = options.short_line_length
    if sum(len(line) <= short for line in lines) / len(lines) > options.short_line_thr:
        return "short_line_ratio"
    breaks = text.count("\n")
    if find_duplicates(lines)[2] / (len(text) - breaks) > options.char_duplicates_ratio:
        return "char_dup_ratio"
    words = len(document.words(language))
    return "list_ratio" if not words or breaks / words > options.new_line_ratio else None


def _ended(lines: list[str], stop_chars: tuple[str, ...] | None) -> int:
    """Count the lines that end with a stop mark; all of datatrove's are single characters."""
    if stop_chars is None:
        ends = _terminal_punctuation()
        return sum(line[-1] in ends for line in lines)
    return sum(line.endswith(stop_chars) for line in lines)


@functools.cache
def _terminal_punctuation() -> frozenset[str]:
    return frozenset(importlib.import_module("datatrove.utils.text").TERMINAL_PUNCTUATION)
