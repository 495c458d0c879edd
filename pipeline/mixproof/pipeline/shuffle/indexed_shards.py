"""Tables of shards that are sorted by hash, with the index of each row's shard in its group."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.group import GroupShard
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.sorted_rows import rows_between

from .gather import Between
from .shuffle import Table

SHARD = "shard"


def indexed_table(file: str, dtype: np.dtype[Any]) -> Table:
    """Return how the rows of a table of kept documents are read; shards are given as (index, shard).

    Args:
        file: the table in the folder of each shard, sorted by hash, with the document of each row in the field `row`.
        dtype: of the records: the hash, fields of the table, and `shard`, an index.
    """
    return Table(partial(_open, file, dtype), dtype)


def _open(file: str, dtype: np.dtype[Any], store: Store, shard: tuple[int, GroupShard]) -> Between:
    index, where = shard
    table = load_array(store.path(f"{where.folder}/{file}"), mmap_mode="r")
    keep = None if where.bitmap is None else load_array(store.path(where.bitmap))
    return partial(_between, table, keep, index, dtype)


def _between(
    table: NDArray[Any], keep: NDArray[np.bool_] | None, index: int, dtype: np.dtype[Any], low: int, high: int
) -> NDArray[Any]:
    names = dtype.names or ()
    part = table[rows_between(table[names[0]], low, high)]
    found = np.empty(len(part), dtype=dtype)
    for name in names:
        found[name] = index if name == SHARD else part[name]
    return found if keep is None else found[keep[part["row"]]]
