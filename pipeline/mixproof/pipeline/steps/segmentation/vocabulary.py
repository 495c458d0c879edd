"""Words by id, with the properties that steps use, computed once per word."""

from __future__ import annotations

import functools
import importlib
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

SYMBOL = 1
"""Every character is one of datatrove's punctuation marks or control characters."""
ALPHA = 2
"""At least one character is a letter."""
PUNCTUATION = 4
"""Every character is Unicode punctuation (P*), like spaCy's `is_punct`."""
ENDS = 8
"""The word closes a sentence."""

BASE = 0x9E3779B97F4A7C15
"""Odd, so that it has an inverse mod 2^64, and the hash of an n-gram is a difference of two prefix sums."""
INVERSE = pow(BASE, -1, 2**64)
_START = 1024
_Number = TypeVar("_Number", bound=np.generic)


class Growing(Generic[_Number]):
    """An array that grows at its end; views stay valid, because growth allocates a new array."""

    def __init__(self, kind: type[_Number]) -> None:
        self._room: NDArray[_Number] = np.zeros(_START, dtype=kind)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    @property
    def array(self) -> NDArray[_Number]:
        """The values so far."""
        return self._room[: self._used]

    def extend(self, values: Sequence[int] | NDArray[_Number]) -> None:
        """Add values."""
        used = self._used + len(values)
        if used > len(self._room):
            larger = np.zeros(max(used, 2 * len(self._room)), dtype=self._room.dtype)
            larger[: self._used] = self.array
            self._room = larger
        self._room[self._used : used] = values
        self._used = used


class Vocabulary:
    """Words by id."""

    def __init__(self, ends: Collection[str] = frozenset()) -> None:
        self._id_of: dict[str, int] = {}
        self._ends = ends
        self.chars = 0
        """Characters of all words, by which the memory is bounded."""
        self._new: list[str] = []
        self._lengths = Growing(np.int32)
        self._flags = Growing(np.uint8)
        self._hashes = Growing(np.uint64)
        self._unhashed: list[str] = []

    def __len__(self) -> int:
        return len(self._id_of)

    def find(self, word: str) -> int | None:
        """The id of a word; None if no text so far contained it."""
        return self._id_of.get(word)

    def spelled(self) -> list[str]:
        """All words in the order of their ids."""
        return list(self._id_of)

    def ids_of(self, words: Iterable[str]) -> list[int]:
        """The ids of words; new words get one."""
        known, new = self._id_of, self._new
        ids: list[int] = []
        for word in words:
            number = known.get(word)
            if number is None:
                number = known[word] = len(known)
                new.append(word)
            ids.append(number)
        return ids

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Characters of each word."""
        self._update()
        return self._lengths.array

    @property
    def flags(self) -> NDArray[np.uint8]:
        """The flags of each word: SYMBOL, ALPHA, PUNCTUATION, ENDS."""
        self._update()
        return self._flags.array

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """Each word's polynomial hash mod 2^64: the sum of c_j * BASE^j over its characters."""
        self._update()
        if self._unhashed:
            self._hashes.extend(hash_words(self._unhashed))
            self._unhashed = []
        return self._hashes.array

    def _update(self) -> None:
        """Compute the properties of words added since the last call."""
        if self._new:
            lengths = list(map(len, self._new))
            self._lengths.extend(lengths)
            self._flags.extend(list(map(self._flags_of, self._new)))
            self.chars += sum(lengths)
            self._unhashed += self._new
            self._new = []

    def _flags_of(self, word: str) -> int:
        if word.isalpha():  # no letter is a mark
            return ALPHA
        flags = 0
        if _marks().issuperset(word):
            flags |= SYMBOL
        if any(map(str.isalpha, word)):
            flags |= ALPHA
        elif all(unicodedata.category(char)[0] == "P" for char in word):
            flags |= PUNCTUATION
        if word in self._ends:
            flags |= ENDS
        return flags


def hash_words(words: Iterable[str]) -> NDArray[np.uint64]:
    """Hash words by their characters, uint64 [words]."""
    words = list(words)
    lengths = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
    codes = np.frombuffer("".join(words).encode("utf-32-le"), dtype="<u4").astype(np.uint64)
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1])).astype(np.int64)
    positions = np.arange(len(codes)) - np.repeat(starts, lengths)
    codes = (codes + np.uint64(1)) * np.uint64(0xD6E8FEB86659FD93)
    return np.add.reduceat(codes * powers(int(lengths.max()))[positions], starts)


def powers(most: int, base: int = BASE) -> NDArray[np.uint64]:
    """Powers base^0 to at least base^most mod 2^64."""
    return _powers(max(64, 1 << most.bit_length()), base)


@functools.lru_cache(maxsize=4)
def _powers(size: int, base: int) -> NDArray[np.uint64]:
    steps = np.full(size, base, dtype=np.uint64)
    steps[0] = 1
    return np.cumprod(steps)


@functools.cache
def _marks() -> frozenset[str]:
    return frozenset(importlib.import_module("datatrove.utils.text").PUNCTUATION_SET)
