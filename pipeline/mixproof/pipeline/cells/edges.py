"""Exact quantiles of numbers that are sorted in many files, without reading them.

The k-th of q bounds is the value at position floor(k n / q), from 0, of all n values in ascending order; a document is
in the cell above a bound if its value is not below it. So, where no values are equal, the k-th cell has
floor(k n / q) - floor((k - 1) n / q) documents. Equal values are in one cell, so with many of them cells differ in size
and some are empty. A bound is found by binary search over 64-bit integers: the smallest one that more than
floor(k n / q) values do not exceed. Each step looks a number up in every file; memory does not grow with the source.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

KEY_BITS = 64


def quantile_keys(shards: Sequence[NDArray[np.uint64]], quantiles: int) -> list[int]:
    """The bounds between `quantiles` cells, as sortable integers.

    Args:
        shards: ascending values of each shard; at least one value in all.
        quantiles: number of cells.
    """
    total = sum(len(shard) for shard in shards)
    return keys_at(shards, [k * total // quantiles for k in range(1, quantiles)])


def keys_at(shards: Sequence[NDArray[np.uint64]], positions: Sequence[int]) -> list[int]:
    """The values at some positions, from 0, of all values in ascending order, as sortable integers."""
    ranks = np.array(positions, np.int64)
    low = np.zeros(len(ranks), np.uint64)
    for bit in reversed(range(KEY_BITS)):
        step = np.uint64(1 << bit)
        below = sum((np.searchsorted(shard, low + step, side="left") for shard in shards), np.zeros(len(ranks), int))
        low = np.where(below <= ranks, low + step, low)
    return [int(key) for key in low]
