"""Find rows of a sorted table in a memory-mapped file without reading all of it."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from numpy.typing import NDArray


def rows_between(column: NDArray[Any], low: int, high: int) -> slice:
    """Return the rows of an ascending column whose values are in [low, high).

    The search compares Python integers: `high` may then be 2**64, and `np.searchsorted` would copy, and so read, the
    whole mapped column when its dtype differs from that of the bounds.
    """
    return slice(bisect_left(column, low, key=int), bisect_left(column, high, key=int))
