"""Ranges of cells: which documents are in each cell of a range, over all shards of a group.

A record is a document in one of its cells. Its hash has the number of the cell's range in its first bits and the cell
in its last ones, so the ranges of hashes of a shuffle are the ranges of cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.group import Documents, GroupShard
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.shuffle.gather import Between, records_of
from mixproof.pipeline.shuffle.plan import power_of_two
from mixproof.pipeline.shuffle.shuffle import Table
from mixproof.pipeline.sorted_rows import rows_between

from .assignment import CELL_ROWS, CELLS

RANGE_RECORDS = 1 << 19
CELL_DTYPE = np.dtype([("hash", "<u8"), ("document", "<i8")])
"""A document in a cell: the hash of the cell; the document's number over all shards of the group."""


def range_count(records: int, cells: int) -> int:
    """The number of ranges of cells, such that a task has about RANGE_RECORDS records."""
    return max(1, min(cells, -(-records // RANGE_RECORDS)))


@dataclass(frozen=True)
class CellRanges:
    """Cells divided into ranges of consecutive ones."""

    cells: int
    count: int
    """Number of ranges. Range n has the cells [n * cells // count, (n + 1) * cells // count)."""

    @property
    def partitions(self) -> int:
        """Number of ranges of hashes: a power of two, of which the last ones may be empty."""
        return power_of_two(self.count)

    @property
    def table(self) -> Table:
        """How the records of a shard are read; `folder` of a `GroupShard` is that of its cells."""
        return Table(partial(open_cells, self), CELL_DTYPE)

    def hashes(self) -> NDArray[np.uint64]:
        """The hash of each cell, ascending: uint64 [cells]; a process keeps the last ones, which all shards share."""
        return _hashes(self.cells, self.count, self.partitions)


@lru_cache(maxsize=1)
def _hashes(cells: int, count: int, partitions: int) -> NDArray[np.uint64]:
    numbers = np.arange(cells, dtype=np.uint64)
    ranges = ((numbers + np.uint64(1)) * np.uint64(count) - np.uint64(1)) // np.uint64(cells)
    bits = partitions.bit_length() - 1
    return numbers if not bits else (ranges << np.uint64(64 - bits)) | numbers


def open_cells(ranges: CellRanges, store: Store, shard: GroupShard) -> Between:
    """Map the cells of a shard's documents."""
    cells, rows = (load_array(store.path(f"{shard.folder}/{name}"), mmap_mode="r") for name in (CELLS, CELL_ROWS))
    keep = None if shard.bitmap is None else load_array(store.path(shard.bitmap), mmap_mode="r")
    return partial(_between, ranges.hashes(), cells, rows, keep, shard.first)


def _between(
    hashes: NDArray[np.uint64],
    cells: NDArray[np.int32],
    rows: NDArray[np.uint32],
    keep: NDArray[np.bool_] | None,
    first: int,
    low: int,
    high: int,
) -> NDArray[Any]:
    wanted = rows_between(hashes, low, high)
    part = rows_between(cells, wanted.start, wanted.stop)
    return records_of(hashes[cells[part]], rows[part], keep, first, CELL_DTYPE)


def members_of(records: NDArray[Any]) -> list[Documents]:
    """The documents of each cell that has two or more, ascending.

    Args:
        records: CELL_DTYPE, of all shards; documents ascend where cells are equal.
    """
    order = np.argsort(records["hash"], kind="stable")
    hashes = records["hash"][order]
    starts = np.flatnonzero(np.append(True, hashes[1:] != hashes[:-1]))[: len(hashes)]
    return [each for each in np.split(records["document"][order], starts[1:]) if len(each) > 1]


def documents_in(members: Sequence[Documents]) -> Documents:
    """All documents of some cells, ascending."""
    return np.unique(np.concatenate([np.zeros(0, np.int64), *members]))
