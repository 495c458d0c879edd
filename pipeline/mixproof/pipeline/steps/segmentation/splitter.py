"""Split texts into words with datatrove's tokenizers, and represent words by ids.

Ids index a vocabulary that stores the properties of words that steps use: length, all symbols, has a letter, ends a
sentence. A document's words are an array of ids, and a filter is arithmetic on arrays. The memory of all languages
together is bounded.
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
"""Bounds for all memos together: about 260 MB of memory, and 390 MB while the largest shrinks."""
WEIGHED_CHARS = 10_000
"""Characters by which a memo grows before the bounds are checked again."""


@dataclass(frozen=True)
class Words:
    """The words of one text, in order."""

    ids: NDArray[np.int32]
    """Ids in the vocabulary, int32 [words]."""
    vocabulary: Vocabulary
    by_chunk: Sequence[bytes] | None = None
    """The ids of each chunk between white space, as bytes; None if chunks are unknown."""

    def __len__(self) -> int:
        return len(self.ids)


class Splitter:
    """Words and sentences by one of datatrove's tokenizers."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - datatrove ships no types
        self._tokenizer = tokenizer
        self._vocabulary = Vocabulary()
        splitters.add(self)

    def size(self) -> tuple[int, int]:
        """Number of entries in memory, and their characters."""
        return len(self._vocabulary), self._vocabulary.chars

    def shrink(self) -> None:
        """Forget words."""
        self._vocabulary = Vocabulary()

    def words(self, text: str) -> Words:
        """The words of a text."""
        make_room()
        ids = self._vocabulary.ids_of(self._tokenizer.word_tokenize(text))
        return Words(np.array(ids, dtype=np.int32), self._vocabulary)

    def sentences(self, line: str, words: Words | None = None, first: int = 0) -> int:
        """Count the sentences of a line; an empty line counts as one, as in datatrove.

        Args:
            line: the line.
            words: those of the text that contains the line, which saves looking them up again.
            first: number of chunks of that text before the line.
        """
        return max(1, len(self._tokenizer.span_tokenize(line)))

    def fewest_sentences(self, words: Words) -> int:
        """A lower bound for the sentences of all lines of a text, at little cost."""
        return 1

    def split_sentences(self, text: str) -> list[str]:
        """Split a text into sentences, each with the white space after it, as datatrove does."""
        ends = [end for _, end in self._tokenizer.span_tokenize(text)][:-1]
        return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


splitters: weakref.WeakSet[Splitter] = weakref.WeakSet()
"""All splitters of this process."""


def make_room() -> None:
    """Shrink the largest memo if all together are too large."""
    chunks, chars = map(sum, zip(*(splitter.size() for splitter in splitters), strict=True))
    if chunks > MAX_CHUNKS or chars > MAX_CHARS:
        max(splitters, key=Splitter.size).shrink()
