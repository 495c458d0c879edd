"""`gopher_repetition`: Gopher's rules of repetition (arXiv 2112.11446, A1), as datatrove's GopherRepetitionFilter.

Runs of words are hashed and sorted (`repeats.py`). A longer run repeats no more than a shorter one, so most
documents are done after one sort for the most frequent runs and one for the repeated ones; only documents near a
bound are counted in full, in datatrove's order.

Differs from datatrove: it takes runs of n words with the same letters for the same, wherever words begin (`in to`,
`into x`); here such runs count only from the first n on at which the runs of equal words near the bound. Hashes of
64 bits may collide. A document in a language that nothing splits into words goes as `no_words_<language>`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator

from .document import Document
from .languages import SpokenOptions
from .repeats import LetterHashes, counted, covered, ends_of, first_of, repeated, top_count, word_hashes
from .step import Apply, Drop, Number, Whole
from .words import Words

VERSION = 1
_PARAGRAPHS = re.compile(r"\n{2,}")
_LINES = re.compile(r"\n+")


def _pairs(value: Any) -> Any:  # noqa: ANN401 - any YAML value
    return (
        tuple(tuple(pair) if isinstance(pair, list) else pair for pair in value) if isinstance(value, list) else value
    )


Bounds = Annotated[tuple[tuple[Whole, Number], ...], BeforeValidator(_pairs)]


class GopherRepetitionOptions(SpokenOptions):
    """As datatrove's GopherRepetitionFilter; a bound of null or 0 on lines and paragraphs is off."""

    dup_line_frac: Number | None = 0.3
    dup_para_frac: Number | None = 0.3
    dup_line_char_frac: Number | None = 0.2
    dup_para_char_frac: Number | None = 0.2
    top_n_grams: Bounds = ((2, 0.2), (3, 0.18), (4, 0.16))
    """Pairs of n and the most characters that the most frequent n words may make up, of all."""
    dup_n_grams: Bounds = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))
    """Pairs of n and the most characters in repeated runs of n words, of all."""


def make_gopher_repetition(options: GopherRepetitionOptions) -> Apply:
    """Drop by datatrove's reasons, `dup_line_frac`, `top_2_gram`, `duplicated_5_n_grams` and so on."""

    def apply(document: Document) -> str | Drop:
        text = document.text
        if not text:
            return Drop("empty")
        language = options.language_of(document)
        chosen = options.of(language)
        reason = _lines_fault(text, chosen)
        if reason is None:
            words = document.words(language)
            reason = _top_fault(text, words, chosen.top_n_grams) or _repeats_fault(text, words, chosen.dup_n_grams)
        return text if reason is None else Drop(reason)

    return apply


def find_duplicates(parts: Sequence[str]) -> tuple[int, int]:
    """Count the parts that occurred before, and their characters."""
    if len(set(parts)) == len(parts):
        return 0, 0
    seen: set[str] = set()
    count = chars = 0
    for part in parts:
        if part in seen:
            count, chars = count + 1, chars + len(part)
        else:
            seen.add(part)
    return count, chars


def _lines_fault(text: str, options: GopherRepetitionOptions) -> str | None:
    for name, parts, most, most_chars in (
        ("para", _PARAGRAPHS.split(text.strip()), options.dup_para_frac, options.dup_para_char_frac),
        ("line", _LINES.split(text), options.dup_line_frac, options.dup_line_char_frac),
    ):
        count, chars = find_duplicates(parts)
        if most and count / len(parts) > most:
            return f"dup_{name}_frac"
        if most_chars and chars / len(text) > most_chars:
            return f"dup_{name}_char_frac"
    return None


def _top_fault(text: str, words: Words, bounds: Sequence[tuple[int, float]]) -> str | None:
    ends = ends_of(words)
    known_n, known_count = 0, len(words)
    for n, most in bounds:
        if n < 1 or len(words) < n:
            continue
        spaces = n - 1
        longest = int((ends[n:] - ends[:-n]).max()) + spaces
        if n >= known_n and known_count * longest / len(text) <= most:
            continue  # it occurs no oftener than the runs of fewer words
        hashes = word_hashes(words, n)
        known_n, (known_count, tops) = n, top_count(hashes)
        if known_count * longest / len(text) <= most:
            continue
        first = first_of(hashes, tops)
        if (int(ends[first + n] - ends[first]) + spaces) * known_count / len(text) > most:
            return f"top_{n}_gram"
    return None


def _repeats_fault(text: str, words: Words, bounds: Sequence[tuple[int, float]]) -> str | None:
    ends = ends_of(words)
    letters: LetterHashes | None = None
    known_n, known_chars = 0, int(ends[-1])
    for n, most in bounds:
        if n < 1 or len(words) < n or (n >= known_n and known_chars / len(text) <= most):
            continue  # runs that occurred before lie inside those of fewer words
        letters = letters or LetterHashes(words)
        found = repeated(letters.of(n))
        known_n, known_chars = n, 0 if found is None else covered(found, n, ends)
        if found is not None and known_chars / len(text) > most and counted(found, n, ends) / len(text) > most:
            return f"duplicated_{n}_n_grams"
    return None
