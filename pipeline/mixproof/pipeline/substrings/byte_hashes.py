"""64-bit hashes of byte strings of one length, for many positions of a text at once, in numpy.

A string of 8 bytes is a word. A longer one is hashed by doubling: the hash of 2n bytes mixes the hashes of its halves,
and where the length is not a power of two, the last two strings overlap. Equal strings have equal hashes; two different
ones collide with probability 2^-64, so whoever acts on equal hashes compares the bytes first.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

WORD_BYTES = 8
_WORD = np.uint64(0x9E3779B97F4A7C15)
_LEFT, _RIGHT = np.uint64(0xD1342543DE82EF95), np.uint64(0xBF58476D1CE4E5B9)
_SHIFT = np.uint64(32)


def words_of(data: bytes) -> NDArray[np.uint64]:
    """Return the 8 bytes from each position as a number, uint64 [len(data) - 7]; a view for shorter data is empty."""
    count = max(len(data) - WORD_BYTES + 1, 0)
    return np.ndarray((count,), np.dtype("<u8"), data, strides=(1,)) if count else np.empty(0, np.uint64)


def hashes_of_all(data: bytes, length: int) -> NDArray[np.uint64]:
    """Hash the `length` bytes from every position, uint64 [len(data) - length + 1].

    Args:
        data: the bytes.
        length: at least 8.
    """
    hashes = words_of(data) * _WORD
    hashes ^= hashes >> _SHIFT
    for before, after in pairwise(_lengths(length)):
        step = after - before
        if len(hashes) <= step:
            return np.empty(0, np.uint64)
        hashes = _joined(hashes[:-step], hashes[step:])
    return hashes


def hashes_at(data: bytes, positions: NDArray[np.int64], length: int) -> NDArray[np.uint64]:
    """Hash the `length` bytes (8 or more) from some positions, uint64 [positions], unlike `hashes_of_all`."""
    words = words_of(data)
    last = length - WORD_BYTES
    found = np.zeros(len(positions), np.uint64)
    for offset in [*range(0, last, WORD_BYTES), last]:
        found = _joined(found, words[positions + offset])
    return found


def _joined(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = left * _LEFT
    mixed += right
    mixed ^= mixed >> _SHIFT
    mixed *= _RIGHT
    mixed ^= mixed >> _SHIFT
    return mixed


def _lengths(length: int) -> list[int]:
    """8, 16, 32, ... and `length`."""
    found = [WORD_BYTES]
    while found[-1] * 2 <= length:
        found.append(found[-1] * 2)
    return found if found[-1] == length else [*found, length]
