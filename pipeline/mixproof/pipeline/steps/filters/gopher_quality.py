"""`gopher_quality`: Gopher's quality rules (arXiv 2112.11446, A1.1), deciding like datatrove's GopherQualityFilter.

The properties that rules check are stored for every word (`vocabulary.py`), so counts are sums over arrays. Rules are
in datatrove's order, because the first that fails gives the reason.

Differences from datatrove: stop words are those of the document's language; a document in a language without stop words
is dropped as `gopher_no_stop_words_<language>`, and in one without a word tokenizer as `no_words_<language>`, rather
than judged by English rules; in languages with words of one or two letters, `min_avg_word_length` is 1 unless the spec
sets it; a text without any word is dropped as `gopher_short_doc`, where datatrove divides by zero.
"""

from __future__ import annotations

import functools
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from mixproof.pipeline.steps.document import Document
from mixproof.pipeline.steps.languages import (
    FEWEST_STOP_WORDS,
    SHORT_WORDS,
    STOP_WORDS,
    LanguageDependentOptions,
    short_label,
)
from mixproof.pipeline.steps.segmentation.splitter import Words
from mixproof.pipeline.steps.segmentation.vocabulary import ALPHA, ENDS, SYMBOL
from mixproof.pipeline.steps.step import Apply, Drop, Number, Share, Strings, Whole, check_order

VERSION = 3
_ALL_FLAGS = 2 * ENDS
_SYMBOLS = tuple(flags for flags in range(_ALL_FLAGS) if flags & SYMBOL)
_LETTERS = tuple(flags for flags in range(_ALL_FLAGS) if flags & ALPHA)
BLOCK_WORDS = 1 << 18
_EARLY = 100
"""Number of words that are searched for stop words first."""
Length = Annotated[Number, Field(ge=0)]


class GopherQualityOptions(LanguageDependentOptions):
    """The options of datatrove's GopherQualityFilter; null or 0 disables a bound."""

    min_doc_words: Whole | None = 50
    """Counts words that are not all symbols."""
    max_doc_words: Whole | None = 100_000
    min_avg_word_length: Length | None = 3
    """Characters."""
    max_avg_word_length: Length | None = 10
    max_symbol_word_ratio: Share | None = 0.1
    """Maximum of `#`, and of ellipses, per word."""
    max_bullet_lines_ratio: Share | None = 0.9
    max_ellipsis_lines_ratio: Share | None = 0.3
    max_non_alpha_words_ratio: Share | None = 0.8
    """Minimum share of words with a letter; the name is datatrove's."""
    min_stop_words: Whole | None = 2
    stop_words: Strings | None = None
    """None: those of the document's language."""

    @model_validator(mode="after")
    def _leave_something(self) -> Self:
        check_order(self.min_doc_words or 0, self.max_doc_words or None, "min_doc_words", "max_doc_words")
        check_order(
            self.min_avg_word_length or 0,
            self.max_avg_word_length or None,
            "min_avg_word_length",
            "max_avg_word_length",
        )
        known = len(set(self.stop_words)) if self.stop_words is not None else FEWEST_STOP_WORDS
        if self.min_stop_words and self.min_stop_words > known:
            raise ValueError(
                f"min_stop_words is {self.min_stop_words}, but there are only {known} stop words, so every document "
                "would be dropped; give more `stop_words`, or set `min_stop_words: 0`"
            )
        return self


def make_gopher_quality(options: GopherQualityOptions) -> Apply:
    """Drop with datatrove's reasons, `gopher_short_doc` and so on."""
    options_of = functools.cache(functools.partial(settled, options))

    def apply(document: Document) -> str | Drop:
        language = options.language_of(document)
        reason = _fault(document.text, document.words(language), options_of(language))
        return document.text if reason is None else Drop(reason)

    return apply


def settled(options: GopherQualityOptions, language: str) -> GopherQualityOptions:
    """The options for a language, with defaults for stop words and the minimum average word length."""
    chosen = options.of(language)
    label = short_label(language)
    if chosen.stop_words is None:
        chosen = chosen.model_copy(update={"stop_words": STOP_WORDS.get(label, ())})
        if label in SHORT_WORDS and "min_avg_word_length" not in chosen.model_fields_set:
            chosen = chosen.model_copy(update={"min_avg_word_length": 1.0})
        options._of[language] = chosen
    return chosen


def _fault(text: str, words: Words, options: GopherQualityOptions) -> str | None:
    counts, chars = _totals(words)
    count = len(words)
    plain_count = count - sum(map(counts.__getitem__, _SYMBOLS))
    if not count or (options.min_doc_words and plain_count < options.min_doc_words):
        return "gopher_short_doc"
    if options.max_doc_words and plain_count > options.max_doc_words:
        return "gopher_long_doc"
    if plain_count:
        mean = (sum(chars) - sum(map(chars.__getitem__, _SYMBOLS))) / plain_count  # integers, exact below 2^53
        if options.min_avg_word_length and mean < options.min_avg_word_length:
            return "gopher_below_avg_threshold"
        if options.max_avg_word_length and mean > options.max_avg_word_length:
            return "gopher_above_avg_threshold"
    most = options.max_symbol_word_ratio
    if most and text.count("#") / count > most:
        return "gopher_too_many_hashes"
    ellipses = text.count("...") + text.count("…")
    if most and ellipses / count > most:
        return "gopher_too_many_ellipsis"
    reason = _lines_fault(text, options, ellipses)
    if reason is not None:
        return reason
    least = options.max_non_alpha_words_ratio
    if least and sum(map(counts.__getitem__, _LETTERS)) / count < least:
        return "gopher_below_alpha_threshold"
    return _stop_words_fault(words, options)


def _totals(words: Words) -> tuple[list[int], list[float]]:
    """Number of words with each combination of flags, and their characters; BLOCK_WORDS at a time bound the memory."""
    counts, chars = np.zeros(_ALL_FLAGS, dtype=np.int64), np.zeros(_ALL_FLAGS)
    for start in range(0, len(words), BLOCK_WORDS):
        ids = words.ids[start : start + BLOCK_WORDS]
        flags = words.vocabulary.flags[ids]
        counts += np.bincount(flags, minlength=_ALL_FLAGS)
        chars += np.bincount(flags, weights=words.vocabulary.lengths[ids], minlength=_ALL_FLAGS)
    return counts.tolist(), chars.tolist()


def _lines_fault(text: str, options: GopherQualityOptions, ellipses: int) -> str | None:
    """Check how lines begin and end, only if the text has enough marks to exceed a bound."""
    breaks = max(1, text.count("\n"))  # there are at least as many lines
    most_bullets, most_ellipses = options.max_bullet_lines_ratio or 0, options.max_ellipsis_lines_ratio or 0
    bullets = text.count("-") + text.count("•")
    lines: list[str] = []
    if most_bullets and bullets / breaks > most_bullets:
        lines = text.splitlines()
        if sum(line.lstrip().startswith(("•", "-")) for line in lines) / len(lines) > most_bullets:
            return "gopher_too_many_bullets"
    if most_ellipses and ellipses / breaks > most_ellipses:
        lines = lines or text.splitlines()
        if sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines) > most_ellipses:
            return "gopher_too_many_end_ellipsis"
    return None


def _stop_words_fault(words: Words, options: GopherQualityOptions) -> str | None:
    if not options.min_stop_words:
        return None
    if not options.stop_words:
        return f"gopher_no_stop_words_{options.language}"
    numbers = {words.vocabulary.find(word) for word in options.stop_words} - {None}
    found = len(numbers.intersection(words.ids[:_EARLY].tolist()))  # in running text this is enough
    if found >= options.min_stop_words:
        return None
    found = sum(bool((words.ids == number).any()) for number in numbers)
    return "gopher_enough_stop_words" if found < options.min_stop_words else None
