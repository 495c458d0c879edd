"""fastText's hashes of words, and 64-bit hashes that distinguish words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FNV_OFFSET, FNV_PRIME = 2166136261, 16777619
_OFFSET_64, _PRIME_64 = 14695981039346656037, 1099511628211
FEW_WORDS = 16
"""So few of the longest words are finished one by one: a step of an array costs as much as some bytes of each."""
_MASK_32, _MASK_64 = (1 << 32) - 1, (1 << 64) - 1


@dataclass(frozen=True)
class WordKeys:
    """Two hashes of each word."""

    hashes: NDArray[np.int32]
    """FNV-1a of 32 bits, the bytes taken as signed: fastText's `Dictionary::hash`."""
    identity: NDArray[np.uint64]
    """FNV-1a of 64 bits. Different words have equal ones with a chance of 2^-64 for each pair."""


def word_keys(data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> WordKeys:
    """Hash words, given by their places in some bytes.

    Args:
        data: uint8.
        starts: int64 [words].
        lengths: int64 [words].
    """
    order = np.argsort(-lengths, kind="stable")
    firsts, descending = starts[order], -lengths[order]
    short = np.full(len(starts), FNV_OFFSET, np.uint32)
    long = np.full(len(starts), _OFFSET_64, np.uint64)
    place = 0
    while (longer := int(np.searchsorted(descending, -place))) >= FEW_WORDS:
        found = data[firsts[:longer] + place]
        short[:longer] ^= found.view(np.int8).astype(np.int32).view(np.uint32)
        short[:longer] *= np.uint32(FNV_PRIME)
        long[:longer] ^= found
        long[:longer] *= np.uint64(_PRIME_64)
        place += 1
    for word in range(longer):
        rest = data[firsts[word] + place : firsts[word] - descending[word]].tobytes()
        short[word], long[word] = _continued(rest, int(short[word]), int(long[word]))
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return WordKeys(short[back].view(np.int32), long[back])


def _continued(rest: bytes, short: int, long: int) -> tuple[int, int]:
    """Both hashes of a word after its last bytes."""
    for byte in rest:
        short = ((short ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * FNV_PRIME) & _MASK_32
        long = ((long ^ byte) * _PRIME_64) & _MASK_64
    return short, long
