"""Rows of a sorted table in a file, found without reading the rest of it."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from numpy.typing import NDArray


def rows_between(column: NDArray[Any], low: int, high: int) -> slice:
    """The rows whose value is in [low, high), of a column that rises.

    By Python's integers, so that a range of hashes may end at 2**64, and because `np.searchsorted` would copy, that is
    read, a whole mapped column of another type than what it looks for.
    """
    return slice(bisect_left(column, low, key=int), bisect_left(column, high, key=int))
