"""The cell of each document of a shard, as one bitmap per cell, and the documents and bytes of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.split import PRUNED
from mixproof.pipeline.bitmap import Bitmap, read_bitmap, save_bitmap
from mixproof.pipeline.columns import array_of, column_of, flags, read_whole
from mixproof.pipeline.labels.columns_of_rows import read_column

from .axis import Axis
from .survey import STAGE

PRUNED_LIST = "pruned.parquet"


@dataclass(frozen=True)
class Assignment:
    """One shard of documents to divide."""

    path: str
    """Its `documents.parquet`, relative to the store."""
    documents: int
    keep: Bitmap | None
    labels: tuple[tuple[str, str], ...]
    """Name and file of each label."""
    axes: tuple[Axis, ...]


def assign_shards(store: Store, shards: Sequence[tuple[str, Assignment]]) -> None:
    """Write the cells of some shards, each under its key (Ray task).

    The fact `cells` has a row for each cell that has a document: its number, documents and bytes. The fact `pruned` has
    documents and bytes of those that leave the corpus with their fine clusters; they are listed.
    """
    for key, shard in shards:
        kept = read_bitmap(store, shard.keep, shard.documents)
        number, pruned = np.zeros(shard.documents, np.int64), np.zeros(shard.documents, np.bool_)
        for axis in shard.axes:
            column = read_column(store, dict(shard.labels), axis.column)
            number = number * (len(axis.cells) + 1) + axis.number_of_rows(column)
            pruned |= axis.is_pruned(column)
        kept, pruned = kept & ~pruned, kept & pruned
        sizes = array_of(read_whole(store.path(shard.path), ["text_bytes"])["text_bytes"])
        cells: list[list[int]] = []
        with store.attempt(STAGE, key) as attempt:
            for cell in np.unique(number[kept]).tolist():
                inside = kept & (number == cell)
                save_bitmap(attempt.path(bitmap_file(cell)), inside)
                cells.append([cell, int(inside.sum()), int(sizes[inside].sum())])
            if pruned.any():
                pq.write_table(_listed(store, shard, pruned), attempt.path(PRUNED_LIST), compression="zstd")
            attempt.commit(facts={"cells": cells, "pruned": [int(pruned.sum()), int(sizes[pruned].sum())]})


def _listed(store: Store, shard: Assignment, pruned: NDArray[np.bool_]) -> pa.Table:
    """Record, id and reason of the documents that were pruned, and the file where it is a column."""
    names = pq.read_schema(store.path(shard.path)).names
    columns = [name for name in ("file", "record", "id") if name in names]
    found = read_whole(store.path(shard.path), columns).filter(flags(pruned))
    return found.append_column("reason", column_of([PRUNED] * len(found), pa.string()))


def bitmap_file(cell: int) -> str:
    """Name of the file with the bitmap of a cell."""
    return f"keep-{cell:06d}.npy"


def names_of(axes: Sequence[Axis], cell: int) -> tuple[str, ...]:
    """The names of a cell on each axis, from its number."""
    names: list[str] = []
    for axis in reversed(axes):
        cell, number = divmod(cell, len(axis.cells) + 1)
        names.append(axis.name_of(number))
    return tuple(reversed(names))
