"""The cells of each document: a stage over shards, keyed by their vectors and the centroids.

A document is put into the PROBES cells whose centroids are nearest, so that two neighbours on both sides of a border
still meet. If coarse cells are divided, these are looked for among the fine cells of the BEAM nearest coarse ones. The
records of a shard are sorted by cell, so a range of cells is one slice of every shard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.read.batches import in_batches

from .cells import Cells
from .centroids import CENTROIDS
from .documents import STAGE, VERSION, Vectors
from .fine_cells import FINE, SIZES
from .nearest import BEAM, FineCells, nearest, nearest_fine
from .vectors import STAGE as EMBEDDINGS
from .vectors import VECTORS

CELLS = "cells.npy"
"""int32, ascending."""
CELL_ROWS = "cell_rows.npy"
"""uint32, the row of each; ascending where cells are equal."""
PROBES = 3
"""Cells that a document is put into, if there are as many."""
ROWS_AT_ONCE = 1 << 15
SHARDS_PER_CALL = 8


def assign_shards(embedded: Sequence[Receipt], cells: Cells, store: Store, cluster: Cluster) -> list[str]:
    """Put the documents of shards into cells; returns the folder of every shard's records, in order."""
    config = {"centroids": cells.coarse.files[CENTROIDS].sha256, "probes": PROBES, **cells.config}
    keys = [stage_key(STAGE, VERSION, config, [each.files[VECTORS].sha256]) for each in embedded]
    centroids = cells.coarse.key, None if cells.fine is None else cells.fine.key

    def calls(missing: Mapping[str, str]) -> list[tuple[object, ...]]:
        return [(store, *centroids, batch) for batch in in_batches(missing.items(), SHARDS_PER_CALL)]

    work = {key: each.key for key, each in zip(keys, embedded, strict=True)}
    run_missing(store, STAGE, work, calls, write_cells, cluster, "cells of embeddings")
    return [f"{STAGE}/{key}" for key in keys]


def write_cells(store: Store, coarse: str, fine: str | None, shards: Sequence[tuple[str, str]]) -> None:
    """Write the records of shards, given as (key, key of the vectors).

    Args:
        store: the store.
        coarse: key of the coarse centroids.
        fine: key of the fine cells; None if there are none.
        shards: to be written.
    """
    centroids = load_array(store.path(f"{STAGE}/{coarse}/{CENTROIDS}"))
    known = None if fine is None else _open(store, fine)
    for key, embedded in shards:
        vectors = load_array(store.path(f"{EMBEDDINGS}/{embedded}/{VECTORS}"), mmap_mode="r")
        found, rows = records_of(vectors, centroids, known)
        order = np.argsort(found, kind="stable")  # rows ascend
        with store.attempt(STAGE, key) as attempt:
            for name, values in ((CELLS, found), (CELL_ROWS, rows)):
                with attempt.path(name).open("wb") as file:
                    np.save(file, values[order], allow_pickle=False)
            attempt.commit()


def _open(store: Store, fine: str) -> FineCells:
    sizes = load_array(store.path(f"{STAGE}/{fine}/{SIZES}"))
    centroids = load_array(store.path(f"{STAGE}/{fine}/{FINE}"), mmap_mode="r")
    return FineCells(centroids, np.append(0, np.cumsum(sizes)))


def records_of(
    vectors: Vectors, centroids: NDArray[np.int16], fine: FineCells | None = None
) -> tuple[NDArray[np.int32], NDArray[np.uint32]]:
    """The cells of documents: int32 and the document's row, uint32 [records]; a zero vector has none.

    Args:
        vectors: int16 [documents, dimensions].
        centroids: int16 [coarse cells, dimensions]; empty if there is one cell.
        fine: the cells that coarse ones are divided into; None: they are not.
    """
    cells, rows = [np.zeros(0, np.int32)], [np.zeros(0, np.uint32)]
    for first in range(0, len(vectors), ROWS_AT_ONCE):
        block = np.array(vectors[first : first + ROWS_AT_ONCE])
        used = np.flatnonzero(block.any(axis=1))
        own = _cells_of(block[used], centroids, fine)
        is_cell = own.T.reshape(-1) >= 0
        cells.append(own.T.reshape(-1)[is_cell].astype(np.int32))
        rows.append(np.repeat(first + used, len(own))[is_cell].astype(np.uint32))
    return np.concatenate(cells), np.concatenate(rows)


def _cells_of(vectors: Vectors, centroids: NDArray[np.int16], fine: FineCells | None) -> NDArray[np.int64]:
    """The cells of each document, the nearest first: int64 [cells, documents], -1 where there are fewer."""
    if not centroids.size:
        return np.zeros((1, len(vectors)), np.int64)
    if fine is None:
        return nearest(vectors, centroids, PROBES)
    return nearest_fine(vectors, nearest(vectors, centroids, BEAM), fine, PROBES)
