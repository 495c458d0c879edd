"""Anchors: a few positions of a text, chosen by content, such that equal windows have equal anchors.

A window is a string of a fixed number of bytes within one document. The anchor of a window is its 8 bytes with the
smallest hash (the first of several), so it depends on the bytes of the window alone, and neighbouring windows mostly
share it: about one position in 200 is an anchor for windows of 400 bytes (winnowing; Schleimer, Wilkerson and Aiken,
2003). The key of an anchor is a hash of half a window, which begins at the anchor if there is room for it inside the
window, and otherwise ends with it. Two equal windows have equal keys, so a window whose key occurs once is unique.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .byte_hashes import WORD_BYTES, hashes_at, words_of

BLOCK_BYTES = 1 << 15
"""Starts of windows that are looked at together, so that arrays stay in a core's caches."""
MOST_WINDOW_BYTES = 1 << 14
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
_HASH_BITS = np.uint32(0xFFFF0000)


@dataclass(frozen=True)
class AnchoredRuns:
    """Runs of neighbouring windows with the same anchor, in order."""

    first: NDArray[np.int64]
    """int64 [runs], position of the first window."""
    last: NDArray[np.int64]
    """int64 [runs], position of the last window."""
    key_position: NDArray[np.int64]
    """int64 [runs], where the half window begins whose hash is the key."""
    key: NDArray[np.uint64]
    """uint64 [runs]."""


def anchored_runs(data: bytes, bounds: NDArray[np.int64], window: int) -> Iterator[AnchoredRuns]:
    """Yield the runs of windows of concatenated texts, in blocks; runs end at the borders of blocks.

    Args:
        data: the texts.
        bounds: int64 [texts + 1]; text i is `data[bounds[i]:bounds[i + 1]]`. A text shorter than a window has none.
        window: bytes of a window, from 16 to 16,384.
    """
    starts, ends = bounds[:-1], np.maximum(bounds[1:] - window + 1, bounds[:-1])  # of the positions of windows
    for block in range(0, len(data) - window + 1, BLOCK_BYTES):
        end = min(block + BLOCK_BYTES, len(data) - window + 1)
        edges = np.concatenate([each[slice(*np.searchsorted(each, (block + 1, end)))] for each in (starts, ends)])
        first, last, key_position = _runs_of_block(data[block : end + window - 1], window, edges - block)
        text = np.searchsorted(starts, first + block, side="right") - 1
        inside = first + block < ends[text]
        first, last, key_position = (each[inside] + block for each in (first, last, key_position))
        yield AnchoredRuns(first, last, key_position, hashes_at(data, key_position, window // 2))


def _runs_of_block(
    data: bytes, window: int, edges: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """First and last window and position of the key of each run in a block; runs are also cut at `edges`."""
    anchors = _anchor_of_each(data, window)
    half = window // 2
    begins = np.arange(len(anchors), dtype=np.int32)
    fits = anchors + np.int32(half - window) <= begins
    changes = np.flatnonzero((anchors[1:] != anchors[:-1]) | (fits[1:] != fits[:-1])) + 1
    first = np.union1d(changes, np.append(edges, 0))
    last = np.append(first[1:], len(anchors)) - 1
    anchor = anchors[first].astype(np.int64)
    return first, last, np.where(fits[first], anchor, anchor + WORD_BYTES - half)


def _anchor_of_each(data: bytes, window: int) -> NDArray[np.int32]:
    """Return the position of the anchor of each window, int32 [windows]."""
    words = words_of(data)
    hashes = words * _FACTOR
    packed = (hashes >> _SHIFT).astype(np.uint32)
    packed &= _HASH_BITS
    packed |= np.arange(len(packed), dtype=np.uint32)  # of equal hashes the first is the smallest
    size, width = 1, window - WORD_BYTES + 1
    while size < width:
        step = min(size, width - size)
        packed = np.minimum(packed[:-step], packed[step:])
        size += step
    return (packed & ~_HASH_BITS).astype(np.int32)
