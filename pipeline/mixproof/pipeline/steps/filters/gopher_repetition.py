"""`gopher_repetition`: Gopher's rules of repetition (arXiv 2112.11446, A1), as datatrove's GopherRepetitionFilter.

Word n-grams are hashed and sorted (`repeats.py`). A longer n-gram repeats no more often than a shorter one in it, so
most documents are decided after one sort for the most frequent n-grams and one for the repeated ones; only documents
near a bound are counted in full, in datatrove's order.

Differences from datatrove: it treats n-grams with the same letters as equal, even with other word boundaries
(`in to x`, `into x`); here such n-grams count only from the first n at which n-grams of equal words approach the
bound. 64-bit hashes may collide. A document in a language without a word tokenizer is dropped as `no_words_<language>`.
"""

from __future__ import annotations

import functools
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

import numpy as np
import xxhash
from pydantic import BeforeValidator, Field

from mixproof.pipeline.steps.document import Document
from mixproof.pipeline.steps.languages import LanguageDependentOptions
from mixproof.pipeline.steps.segmentation.splitter import Words
from mixproof.pipeline.steps.step import Apply, Drop, Share

from .repeats import (
    LONG_WORDS,
    Ends,
    LetterHashes,
    Repeated,
    WordHashes,
    any_as_often,
    count_again,
    counted,
    covered,
    ends_of,
    first_of,
    repeated,
    top_count,
)

VERSION = 3


def _pairs(value: Any) -> Any:  # noqa: ANN401 - any YAML value
    return (
        tuple(tuple(pair) if isinstance(pair, list) else pair for pair in value) if isinstance(value, list) else value
    )


LONG_CHARS = 1 << 22
"""Longer texts are not held as lists of lines."""
Bounds = Annotated[tuple[tuple[Annotated[int, Field(ge=1)], Share], ...], BeforeValidator(_pairs)]


class GopherRepetitionOptions(LanguageDependentOptions):
    """The options of datatrove's GopherRepetitionFilter; null or 0 disables a bound on lines and paragraphs."""

    dup_line_frac: Share | None = 0.3
    dup_para_frac: Share | None = 0.3
    dup_line_char_frac: Share | None = 0.2
    dup_para_char_frac: Share | None = 0.2
    top_n_grams: Bounds = ((2, 0.2), (3, 0.18), (4, 0.16))
    """Pairs of n and the maximum share of characters in the most frequent n-gram."""
    dup_n_grams: Bounds = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))
    """Pairs of n and the maximum share of characters in repeated n-grams."""


def make_gopher_repetition(options: GopherRepetitionOptions) -> Apply:
    """Drop repetitive documents, with datatrove's reasons, such as `dup_line_frac` or `duplicated_5_n_grams`."""
    options_of = functools.cache(options.of)

    def apply(document: Document) -> str | Drop:
        text = document.text
        if not text:
            return Drop("empty")
        language = options.language_of(document)
        chosen = options_of(language)
        reason = _lines_fault(text, chosen)
        if reason is None:
            reason = _runs_fault(text, document.words(language), chosen)
        return text if reason is None else Drop(reason)

    return apply


def paragraphs_of(text: str) -> list[str]:
    r"""Split the stripped text at two or more line breaks, like `re.split(r"\n{2,}")` and 20 times as fast."""
    parts = [part.lstrip("\n") for part in text.strip().split("\n\n")]
    return [part for part in parts if part] or [""]


def lines_of(text: str) -> list[str]:
    r"""Split a text at line breaks, like `re.split(r"\n+")`: a break at either end gives an empty line there."""
    lines = [line for line in text.split("\n") if line]
    return [""] * text.startswith("\n") + lines + [""] * text.endswith("\n") if lines else [""] * min(2, 1 + len(text))


def iter_paragraphs(text: str) -> Iterator[str]:
    """The parts of `paragraphs_of`, one at a time."""
    return _between(re.compile(r"\n{2,}"), text.strip())


def iter_lines(text: str) -> Iterator[str]:
    """The parts of `lines_of`, one at a time."""
    return _between(re.compile(r"\n+"), text)


def _between(breaks: re.Pattern[str], text: str) -> Iterator[str]:
    start = 0
    for found in breaks.finditer(text):
        yield text[start : found.start()]
        start = found.end()
    yield text[start:]


def find_duplicates(parts: Sequence[str]) -> tuple[int, int, int]:
    """Count the parts, those that occurred earlier, and the characters of these."""
    if len(set(parts)) == len(parts):
        return len(parts), 0, 0
    seen: set[str] = set()
    count = chars = 0
    for part in parts:
        if part in seen:
            count, chars = count + 1, chars + len(part)
        else:
            seen.add(part)
    return len(parts), count, chars


def count_duplicates(parts: Iterable[str]) -> tuple[int, int, int]:
    """Do the same as `find_duplicates` by hashes, in about 40 bytes a part."""
    hashes, lengths = array("Q"), array("i")
    for part in parts:
        hashes.append(xxhash.xxh3_64_intdigest(part.encode(errors="surrogatepass")))
        lengths.append(len(part))
    later = repeated(np.frombuffer(hashes, np.uint64))
    again = later.starts[later.later]
    return len(hashes), len(again), int(np.frombuffer(lengths, np.int32)[again].sum(dtype=np.int64))


def _lines_fault(text: str, options: GopherRepetitionOptions) -> str | None:
    is_long = len(text) > LONG_CHARS
    for name, listed, one_by_one, most, most_chars in (
        ("para", paragraphs_of, iter_paragraphs, options.dup_para_frac, options.dup_para_char_frac),
        ("line", lines_of, iter_lines, options.dup_line_frac, options.dup_line_char_frac),
    ):
        parts, count, chars = count_duplicates(one_by_one(text)) if is_long else find_duplicates(listed(text))
        if most and count / parts > most:
            return f"dup_{name}_frac"
        if most_chars and chars / len(text) > most_chars:
            return f"dup_{name}_char_frac"
    return None


def _runs_fault(text: str, words: Words, options: GopherRepetitionOptions) -> str | None:
    ends, hashes = ends_of(words), WordHashes(words)
    return _top_fault(len(text), ends, hashes, options.top_n_grams) or _repeats_fault(
        len(text), words, ends, hashes, options.dup_n_grams
    )


def _top_fault(chars: int, ends: Ends, hashes: WordHashes, bounds: Sequence[tuple[int, float]]) -> str | None:
    """Check the most frequent n-grams. A longer one occurs at most as often as a shorter one, which bounds its size."""
    bounds = [(n, most) for n, most in bounds if n < len(ends)]
    if not bounds:
        return None
    widest, lowest = max(n for n, _ in bounds), min(most for _, most in bounds)
    shortest = hashes.of(min(n for n, _ in bounds))
    if not any_as_often(shortest, _too_often(_longest(ends, widest) + widest - 1, chars, lowest)):
        return None
    for n, most in bounds:
        runs, lengths = hashes.of(n), ends[n:] - ends[:-n]
        if not any_as_often(runs, _too_often(int(lengths.max()) + n - 1, chars, most)):
            continue
        count, tops = top_count(runs)
        if (int(lengths[first_of(runs, tops)]) + n - 1) * count / chars > most:
            return f"top_{n}_gram"
    return None


def _longest(ends: Ends, n: int) -> int:
    """Characters of the longest n-gram."""
    return int((ends[n:] - ends[:-n]).max())


def _too_often(length: int, chars: int, most: float) -> int:
    """The smallest count at which an n-gram of that length exceeds its share of a text."""
    count = max(1, int(most * chars / length) - 1)
    while count * length / chars <= most:
        count += 1
    return count


def _repeats_fault(
    chars: int, words: Words, ends: Ends, hashes: WordHashes, bounds: Sequence[tuple[int, float]]
) -> str | None:
    """Check repeated n-grams; longer ones are covered by shorter ones."""
    bounds = [(n, most) for n, most in bounds if n < len(ends)]
    if not bounds:
        return None
    letters: LetterHashes | None = None
    found: Repeated | None = None
    known_n = min(n for n, _ in bounds)
    known_chars = min(int(ends[-1]), count_again(hashes.of(known_n)) * _longest(ends, known_n))
    for n, most in bounds:
        if n >= known_n and known_chars / chars <= most:
            continue
        found = repeated(hashes.of(n), among=found.starts if found is not None and n >= known_n else None)
        known_n, known_chars = n, covered(found, n, ends)
        if known_chars / chars <= most:
            continue
        if len(words) > LONG_WORDS:  # made again for each n, to hold less at once
            again = repeated(LetterHashes(words).of(n))
        else:
            letters = letters or LetterHashes(words)
            again = repeated(letters.of(n))
        if counted(again, n, ends) / chars > most:
            return f"duplicated_{n}_n_grams"
    return None
