"""spaCy's algorithm for splitting a chunk, without its documents and lexemes: in a third of the time.

It follows spacy.io/usage/linguistic-features#how-tokenizer-works: remove prefixes and suffixes while there are any; the
remainder is a special case (`don't`), or a word if it matches as a whole or as an address, or else is split at its
infixes. Words that together spell a special case (`:` and `)`) become its words. If two special cases may share a
word, spaCy itself splits the chunk.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from .expressions import at_the_start, near_the_end, where_one_begins, with_a_dot

MAX_URL_CHARS = 2048
"""Longer strings are not matched as a whole, as URLs are: spaCy's expression for them backtracks."""
WINDOW = 64
"""Characters that are looked at for a prefix or suffix: far more than any has, and its context (see `MAX_SUFFIX`)."""


class Rules:
    """Splits chunks by the expressions of one spaCy tokenizer."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - spaCy is optional
        self._prefix = at_the_start(tokenizer.prefix_search or _nothing)
        self._suffix = near_the_end(tokenizer.suffix_search or _nothing)
        self._infixes = where_one_begins(tokenizer.infix_finditer or _none)
        self._whole = tokenizer.token_match or _nothing
        self._address = with_a_dot(tokenizer.url_match or _nothing)
        self._special: dict[str, tuple[str, ...]] = {}
        self._longest = 0
        spelled = {chunk: tuple(self._split(chunk)) for chunk in tokenizer.rules}  # without special cases
        self._alone = frozenset(
            words[0]
            for chunk, words in spelled.items()
            if len(words) == 1 < len(tokenizer.rules[chunk])
            and (not tokenizer.faster_heuristics or self._marked(chunk))
        )
        """Special cases of one word; spaCy searches the words for those with a prefix, suffix or infix."""
        self._phrases: dict[tuple[str, str], list[tuple[str, ...]]] = {}
        for words in spelled.values():
            if len(words) > 1:
                self._phrases.setdefault((words[0], words[1]), []).append(words)
        """The special cases of several words, by their first two."""
        self._seldom = self._alone.union(first for first, _ in self._phrases)
        self._special = {chunk: _words_of(case) for chunk, case in tokenizer.rules.items()}
        self._longest = max(map(len, self._special), default=0)

    def split(self, chunk: str) -> list[str] | None:
        """The words of a chunk; None if special cases may overlap."""
        words = self._split(chunk)
        if self._seldom.isdisjoint(words):
            return words
        return self._with_cases(words) if self._alone.isdisjoint(words) else None

    def split_long(self, chunk: str) -> list[str]:
        """The words of a chunk in linear time: of special cases that overlap, the first counts."""
        return self._with_cases(self._split(chunk), first_counts=True) or []

    def _marked(self, chunk: str) -> bool:
        return bool(self._prefix(chunk) or self._suffix(chunk) or any(True for _ in self._infixes(chunk)))

    def _with_cases(self, words: list[str], *, first_counts: bool = False) -> list[str] | None:
        """Replace words that spell a special case by its words; None if two special cases share a word.

        With `first_counts`, the first of them is replaced.
        """
        found: list[str] = []
        done = 0
        for index, pair in enumerate(pairwise(words)):
            for phrase in self._phrases.get(pair, ()):
                if tuple(words[index : index + len(phrase)]) == phrase:
                    if index < done:
                        if first_counts:
                            continue
                        return None
                    found += (*words[done:index], *self._special["".join(phrase)])
                    done = index + len(phrase)
        return found + words[done:]

    def _split(self, chunk: str) -> list[str]:
        """Remove prefixes and suffixes from both ends while there are any, then split what remains."""
        special, whole = self._special, self._whole
        before: list[str] = []
        after: list[str] = []
        remainder = chunk if len(chunk) <= WINDOW else self._shortened(chunk, before, after)
        size = 0 if len(remainder) <= WINDOW else len(remainder)
        while remainder and len(remainder) != size and remainder not in special:
            if whole is not _nothing and whole(remainder):
                break
            size = len(remainder)
            prefix = self._prefix(remainder)
            start = 0 if prefix is None else prefix.end() - prefix.start()
            inner = remainder[start:] if start else remainder
            if start and inner in special:
                before.append(remainder[:start])
                remainder = inner
                break
            suffix = self._suffix(inner)
            length = 0 if suffix is None else suffix.end() - suffix.start()
            if length and remainder[:-length] in special:
                after.append(remainder[-length:])
                remainder = remainder[:-length]
                break
            if start:
                before.append(remainder[:start])
            if length and start + length <= size:
                after.append(remainder[-length:])
                inner = remainder[start:-length]
            remainder = inner
        if remainder:
            before += special.get(remainder) or self._inside(remainder)
        before += reversed(after)
        return before

    def _shortened(self, chunk: str, before: list[str], after: list[str]) -> str:
        """Remove prefixes and suffixes of a chunk of more than WINDOW characters until this many remain, or none does.

        It looks only at as many characters as a prefix or suffix can have, so a chunk of brackets costs as much per
        bracket as a short one does.
        """
        start, end = 0, len(chunk)
        size = -1
        while end - start > WINDOW and end - start != size:
            size = end - start
            if self._is_special(chunk, start, end) or self._is_whole(chunk, start, end):
                break
            prefix = self._prefix(chunk[start : start + WINDOW])
            inner = start if prefix is None else start + prefix.end() - prefix.start()
            if inner > start and self._is_special(chunk, inner, end):
                before.append(chunk[start:inner])
                start = inner
                break
            suffix = self._suffix(chunk[self._suffix_window(chunk, inner, end) : end])
            length = 0 if suffix is None else suffix.end() - suffix.start()
            if length and self._is_special(chunk, start, end - length):
                after.append(chunk[end - length : end])
                end -= length
                break
            if inner > start:
                before.append(chunk[start:inner])
            if length and inner - start + length <= size:
                after.append(chunk[end - length : end])
                end -= length
            start = inner
        return chunk[start:end]

    def _is_special(self, chunk: str, start: int, end: int) -> bool:
        return end - start <= self._longest and chunk[start:end] in self._special

    def _is_whole(self, chunk: str, start: int, end: int) -> bool:
        """Whether a language's expression for whole words matches, if it has one."""
        if self._whole is _nothing or end - start > MAX_URL_CHARS:
            return False
        return self._whole(chunk[start:end]) is not None

    def _suffix_window(self, chunk: str, start: int, end: int) -> int:
        """Where to start looking for a suffix: all are short except a run of dots."""
        if chunk.endswith("...", start, end):
            while end > start and chunk[end - 1] == ".":
                end -= 1
        return max(start, end - WINDOW)

    def _inside(self, remainder: str) -> list[str]:
        if len(remainder) <= MAX_URL_CHARS and (self._whole(remainder) or self._address(remainder)):
            return [remainder]
        words: list[str] = []
        end = 0
        for infix in self._infixes(remainder):
            first, last = infix.span()
            if first == 0:
                continue  # spaCy does not split before or after it
            if first != end:
                words.append(remainder[end:first])
            if first != last:
                words.append(remainder[first:last])
            end = last
        if end < len(remainder):
            words.append(remainder[end:])
        return words


def _words_of(case: Iterable[Mapping[Any, str]]) -> tuple[str, ...]:
    """The words of a special case, which spaCy stores under the attribute ORTH, by name or by number."""
    orth = importlib.import_module("spacy.attrs").ORTH
    return tuple(word["ORTH"] if "ORTH" in word else word[orth] for word in case)


def _nothing(string: str) -> re.Match[str] | None:
    return None


def _none(string: str) -> tuple[re.Match[str], ...]:
    return ()
