"""spaCy's way of splitting a chunk, followed without its documents and lexemes: a third of the time.

By its documentation (spacy.io/usage/linguistic-features#how-tokenizer-works): take prefixes and suffixes off while
there are any; what is left is a word if it matches as a whole or as an address, else it is cut at its infixes. Where a
special case has a say (`don't`, `:)`), spaCy itself is asked.
"""

from __future__ import annotations

import re
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
        self._special = frozenset(tokenizer.rules)
        spelled = [(self._split(chunk, frozenset()), len(words)) for chunk, words in tokenizer.rules.items()]
        self._alone = frozenset(words[0] for words, count in spelled if words and len(words) == 1 and count > 1)
        self._pairs = frozenset((words[0], words[1]) for words, _ in spelled if words and len(words) > 1)
        """How the special cases begin that spaCy looks for among words."""
        self._seldom = self._alone.union(first for first, _ in self._pairs)

    def split(self, chunk: str) -> list[str] | None:
        """Give the words of a chunk; None where a special case may have a say."""
        words = self._split(chunk, self._special)
        if words is None or self._seldom.isdisjoint(words):
            return words
        if not self._alone.isdisjoint(words) or not self._pairs.isdisjoint(pairwise(words)):
            return None
        return words

    def _split(self, chunk: str, special: frozenset[str]) -> list[str] | None:
        before: list[str] = []
        after: list[str] = []
        rest, size = chunk, 0
        while rest and len(rest) != size:
            if rest in special:
                return None
            if self._whole(rest):
                break
            size = len(rest)
            prefix = self._prefix(rest)
            start = 0 if prefix is None else prefix.end() - prefix.start()
            if start and rest[start:] in special:
                return None
            suffix = self._suffix(rest[start:] if start else rest)
            length = 0 if suffix is None else suffix.end() - suffix.start()
            if start:
                before.append(rest[:start])
            if length:
                if rest[:-length] in special:
                    return None
                if start + length <= size:
                    after.append(rest[-length:])
                    rest = rest[start:-length]
                    continue
            rest = rest[start:]
        if rest:
            before += self._inside(rest)
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


def _nothing(string: str) -> re.Match[str] | None:
    return None


def _none(string: str) -> tuple[re.Match[str], ...]:
    return ()
