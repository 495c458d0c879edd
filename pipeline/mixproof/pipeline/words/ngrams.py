"""Word n-grams of texts as 64-bit hashes, in numpy, for decontamination and MinHash.

`words.py` gives the hashes of words. A window of n words is hashed by doubling, in about 2 log2(n) passes over the
words of a batch of texts. Hashes are mixed to uniform 64 bits: two different n-grams collide with probability 2^-64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_WORD = 0xD1342543DE82EF95
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True)
class Ragged:
    """A row of hashes for each text, concatenated."""

    values: NDArray[np.uint64]
    """uint64 [sum of lengths]."""
    offsets: NDArray[np.int64]
    """int64 [texts + 1]: the hashes of text i are `values[offsets[i]:offsets[i + 1]]`."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, text: int) -> NDArray[np.uint64]:
        """The hashes of one text."""
        return self.values[self.offsets[text] : self.offsets[text + 1]]

    def owners(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The text to which each of `indices` into `values` belongs, int64 [indices]."""
        return np.searchsorted(self.offsets, indices, side="right") - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Hashes per text, int64 [texts]."""
        return np.diff(self.offsets)


def one_row(values: NDArray[np.uint64]) -> Ragged:
    """The hashes of a single text."""
    return Ragged(values, np.array([0, len(values)], dtype=np.int64))


def window_hashes(words: Ragged, width: int) -> Ragged:
    """Hash every window of `width` consecutive words of every text, in order; a shorter text has none.

    Raises:
        ValueError: for a width below 1.
    """
    if width < 1:
        raise ValueError(f"a window has at least one word, not {width}")
    counts = np.maximum(words.lengths - (width - 1), 0)
    windows = _windows(words.values, width)
    offsets = offsets_of(counts)
    if len(windows) != offsets[-1]:  # drop windows that span two texts
        inside = np.ones(len(windows), dtype=np.bool_)
        ends = words.offsets[:-1] + counts
        spanning = ranges(ends, words.offsets[1:] - ends)
        inside[spanning[spanning < len(windows)]] = False
        windows = windows[inside]
    return Ragged(mixed(windows), offsets)


def hashes_at(values: NDArray[np.uint64], starts: NDArray[np.int64], width: int) -> NDArray[np.uint64]:
    """Hash the `width` words at each of `starts`, like `window_hashes`: uint64 [starts]."""
    sums = np.zeros(len(starts), dtype=np.uint64)
    for offset in range(width):
        sums = sums * np.uint64(_WORD) + values[starts + offset]
    return mixed(sums)


def ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The indices of ranges, concatenated: `lengths[0]` of them from `starts[0]` on, and so on."""
    offsets = offsets_of(lengths)
    return np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread every bit over all 64, in place (the finalizer of splitmix64); returns `values`."""
    values ^= values >> np.uint64(30)
    values *= _MIX[0]
    values ^= values >> np.uint64(27)
    values *= _MIX[1]
    values ^= values >> np.uint64(31)
    return values


def _windows(values: NDArray[np.uint64], width: int) -> NDArray[np.uint64]:
    """Sum of value[i + j] * _WORD^(width - 1 - j) for every i, from windows of 1, 2, 4 ... words."""
    if len(values) < width:
        return np.zeros(0, dtype=np.uint64)
    power, size = values, 1
    whole: NDArray[np.uint64] | None = None
    done, left = 0, width
    while left:
        if left & 1:
            if whole is None:
                whole, done = power, size
            else:  # multiply the hash of the words so far by the power for those that follow
                joined = whole[: len(values) - done - size + 1] * np.uint64(pow(_WORD, size, 1 << 64))
                joined += power[done : done + len(joined)]
                whole, done = joined, done + size
        left >>= 1
        if left:
            doubled = power[:-size] * np.uint64(pow(_WORD, size, 1 << 64))
            doubled += power[size:]
            power, size = doubled, 2 * size
    assert whole is not None and done == width and len(whole) == len(values) - width + 1
    return whole if width > 1 else whole.copy()


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Start of each row of the given lengths, and end of the last: int64 [lengths + 1]."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
