"""spaCy's way of splitting a chunk, followed without its documents and lexemes: a third of the time.

By its documentation (spacy.io/usage/linguistic-features#how-tokenizer-works): take prefixes and suffixes off while
there are any; what is left is a special case (`don't`), or a word if it matches as a whole or as an address, else it
is cut at its infixes. Words that spell a special case (`:` and `)`) become its words. Where two may share a word, spaCy
itself is asked.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from .expressions import at_the_start, near_the_end, where_one_begins, with_a_dot


class Rules:
    """Splits chunks by the expressions of one spaCy tokenizer."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - spaCy is optional
        self._prefix = at_the_start(tokenizer.prefix_search or _nothing)
        self._suffix = near_the_end(tokenizer.suffix_search or _nothing)
        self._infixes = where_one_begins(tokenizer.infix_finditer or _none)
        self._whole = tokenizer.token_match or _nothing
        self._address = with_a_dot(tokenizer.url_match or _nothing)
        self._special: dict[str, tuple[str, ...]] = {}
        spelled = {chunk: tuple(self._split(chunk)) for chunk in tokenizer.rules}  # as if there were no special cases
        self._alone = frozenset(
            words[0]
            for chunk, words in spelled.items()
            if len(words) == 1 < len(tokenizer.rules[chunk])
            and (not tokenizer.faster_heuristics or self._marked(chunk))
        )
        """Special cases of one word: spaCy looks among words for those with something that it could take off."""
        self._phrases: dict[tuple[str, str], list[tuple[str, ...]]] = {}
        for words in spelled.values():
            if len(words) > 1:
                self._phrases.setdefault((words[0], words[1]), []).append(words)
        """The special cases that spaCy looks for among words, by how they begin."""
        self._seldom = self._alone.union(first for first, _ in self._phrases)
        self._special = {chunk: _words_of(case) for chunk, case in tokenizer.rules.items()}

    def split(self, chunk: str) -> list[str] | None:
        """Give the words of a chunk; None where special cases may meet."""
        words = self._split(chunk)
        if self._seldom.isdisjoint(words):
            return words
        return self._with_cases(words) if self._alone.isdisjoint(words) else None

    def _marked(self, chunk: str) -> bool:
        return bool(self._prefix(chunk) or self._suffix(chunk) or any(True for _ in self._infixes(chunk)))

    def _with_cases(self, words: list[str]) -> list[str] | None:
        """Put the special cases in place of the words that spell them; None where two of them share a word."""
        found: list[str] = []
        done = 0
        for place, pair in enumerate(pairwise(words)):
            for phrase in self._phrases.get(pair, ()):
                if tuple(words[place : place + len(phrase)]) == phrase:
                    if place < done:
                        return None
                    found += (*words[done:place], *self._special["".join(phrase)])
                    done = place + len(phrase)
        return found + words[done:]

    def _split(self, chunk: str) -> list[str]:
        special = self._special
        before: list[str] = []
        after: list[str] = []
        rest, size = chunk, 0
        while rest and len(rest) != size and rest not in special and not self._whole(rest):
            size = len(rest)
            prefix = self._prefix(rest)
            start = 0 if prefix is None else prefix.end() - prefix.start()
            inner = rest[start:] if start else rest
            if start and inner in special:
                before.append(rest[:start])
                rest = inner
                break
            suffix = self._suffix(inner)
            length = 0 if suffix is None else suffix.end() - suffix.start()
            if length and rest[:-length] in special:
                after.append(rest[-length:])
                rest = rest[:-length]
                break
            if start:
                before.append(rest[:start])
            if length and start + length <= size:
                after.append(rest[-length:])
                inner = rest[start:-length]
            rest = inner
        if rest:
            before += special.get(rest) or self._inside(rest)
        before += reversed(after)
        return before

    def _inside(self, rest: str) -> list[str]:
        if self._whole(rest) or self._address(rest):
            return [rest]
        words: list[str] = []
        end = 0
        for infix in self._infixes(rest):
            first, last = infix.span()
            if first == 0:
                continue  # spaCy does not cut there, nor after it
            if first != end:
                words.append(rest[end:first])
            if first != last:
                words.append(rest[first:last])
            end = last
        if end < len(rest):
            words.append(rest[end:])
        return words


def _words_of(case: Iterable[Mapping[Any, str]]) -> tuple[str, ...]:
    """Give the words of a special case, which spaCy keeps by the attribute ORTH, as a name or as a number."""
    orth = importlib.import_module("spacy.attrs").ORTH
    return tuple(word["ORTH"] if "ORTH" in word else word[orth] for word in case)


def _nothing(string: str) -> re.Match[str] | None:
    return None


def _none(string: str) -> tuple[re.Match[str], ...]:
    return ()
