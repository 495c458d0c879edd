"""What finds the words of a text: a tokenizer of datatrove, and the numbers that its words have.

Words are numbers into a vocabulary that knows of each word what the steps ask: its length, whether it is all symbols,
has a letter, ends a sentence. A document's words are an array of such numbers, and a filter is arithmetic on arrays.
What is remembered is bounded over all languages together.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .vocabulary import Vocabulary

MAX_CHUNKS = 1_000_000
MAX_CHARS = 30_000_000
"""Bounds of all memos together: about 260 MB of memory, and 390 while the largest forgets, which it does past them."""
WEIGHED_CHARS = 10_000
"""How much a memo grows before it is asked again whether all together are too large."""


@dataclass(frozen=True)
class Words:
    """The words of one text, in order."""

    ids: NDArray[np.int32]
    """Numbers into the vocabulary."""
    vocabulary: Vocabulary
    by_chunk: Sequence[bytes] | None = None
    """The numbers again, as bytes, those of each chunk between white space apart; None where chunks are not known."""

    def __len__(self) -> int:
        return len(self.ids)


class Splitter:
    """Words and sentences by a tokenizer of datatrove as it is."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - datatrove ships no types
        self._tokenizer = tokenizer
        self._vocabulary = Vocabulary()
        splitters.add(self)

    def size(self) -> tuple[int, int]:
        """Count what is remembered, and its characters."""
        return len(self._vocabulary), self._vocabulary.chars

    def shrink(self) -> None:
        """Forget words."""
        self._vocabulary = Vocabulary()

    def words(self, text: str) -> Words:
        """Give the words of a text."""
        make_room()
        ids = self._vocabulary.ids_of(self._tokenizer.word_tokenize(text))
        return Words(np.array(ids, dtype=np.int32), self._vocabulary)

    def sentences(self, line: str, words: Words | None = None, first: int = 0) -> int:
        """Count the sentences of a line; an empty one counts as one, as in datatrove.

        `words` may be those of the text that the line is from, and `first` the number of chunks before it there:
        where there is a memo, the line's need not be looked up again.
        """
        return max(1, len(self._tokenizer.span_tokenize(line)))

    def fewest_sentences(self, words: Words) -> int:
        """Give a number that the sentences of all lines of a text together reach, at little cost."""
        return 1

    def split_sentences(self, text: str) -> list[str]:
        """Split a text into sentences, the white space between them at the end of each, as datatrove does."""
        ends = [end for _, end in self._tokenizer.span_tokenize(text)][:-1]
        return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


splitters: weakref.WeakSet[Splitter] = weakref.WeakSet()
"""All that there are in this process."""


def make_room() -> None:
    """Where all memos together are too large, the largest forgets."""
    chunks, chars = map(sum, zip(*(splitter.size() for splitter in splitters), strict=True))
    if chunks > MAX_CHUNKS or chars > MAX_CHARS:
        max(splitters, key=Splitter.size).shrink()
