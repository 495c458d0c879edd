"""The cells of each document: a stage over shards, keyed by their vectors and the centroids.

A document is put into the PROBES cells whose centroids are nearest, so that two neighbours on both sides of a border
still meet. The records of a shard are sorted by cell, so a range of cells is one slice of every shard.
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

from .centroids import CENTROIDS
from .documents import STAGE, VERSION, Vectors
from .vectors import STAGE as EMBEDDINGS
from .vectors import VECTORS

CELLS = "cells.npy"
"""int32, ascending."""
CELL_ROWS = "cell_rows.npy"
"""uint32, the row of each; ascending where cells are equal."""
PROBES = 3
"""Cells that a document is put into, if there are as many."""
ROWS_AT_ONCE = 4096
SHARDS_PER_CALL = 8


def assign_shards(embedded: Sequence[Receipt], centroids: Receipt, store: Store, cluster: Cluster) -> list[str]:
    """Put the documents of shards into cells; returns the folder of every shard's records, in order."""
    config = {"centroids": centroids.files[CENTROIDS].sha256, "probes": PROBES}
    keys = [stage_key(STAGE, VERSION, config, [each.files[VECTORS].sha256]) for each in embedded]

    def calls(missing: Mapping[str, str]) -> list[tuple[object, ...]]:
        return [(store, centroids.key, batch) for batch in in_batches(missing.items(), SHARDS_PER_CALL)]

    work = {key: each.key for key, each in zip(keys, embedded, strict=True)}
    run_missing(store, STAGE, work, calls, write_cells, cluster, "cells of embeddings")
    return [f"{STAGE}/{key}" for key in keys]


def write_cells(store: Store, centroids: str, shards: Sequence[tuple[str, str]]) -> None:
    """Write the records of shards, given as (key, key of the vectors)."""
    cells = load_array(store.path(f"{STAGE}/{centroids}/{CENTROIDS}"))
    for key, embedded in shards:
        vectors = load_array(store.path(f"{EMBEDDINGS}/{embedded}/{VECTORS}"), mmap_mode="r")
        found, rows = records_of(vectors, cells)
        order = np.argsort(found, kind="stable")  # rows ascend
        with store.attempt(STAGE, key) as attempt:
            for name, values in ((CELLS, found), (CELL_ROWS, rows)):
                with attempt.path(name).open("wb") as file:
                    np.save(file, values[order], allow_pickle=False)
            attempt.commit()


def records_of(vectors: Vectors, centroids: NDArray[np.int16]) -> tuple[NDArray[np.int32], NDArray[np.uint32]]:
    """The cells of documents: int32 and the document's row, uint32 [records]; a zero vector has none."""
    cells, rows = [np.zeros(0, np.int32)], [np.zeros(0, np.uint32)]
    exact = centroids.astype(np.float32).T
    for first in range(0, len(vectors), ROWS_AT_ONCE):
        block = np.array(vectors[first : first + ROWS_AT_ONCE])
        used = np.flatnonzero(block.any(axis=1))
        own = np.zeros((1, len(used)), np.int64)
        if exact.size:
            own = nearest_cells(block[used].astype(np.float32) @ exact, PROBES)
        cells.append(own.T.reshape(-1).astype(np.int32))
        rows.append(np.repeat(first + used, len(own)).astype(np.uint32))
    return np.concatenate(cells), np.concatenate(rows)


def nearest_cells(products: NDArray[np.float32], number: int) -> NDArray[np.int64]:
    """The cells with the largest products, the first of equal ones: int64 [min(`number`, cells), documents].

    Products are whole numbers below 2^24, so they are exact; they are overwritten.
    """
    found = np.empty((min(number, products.shape[1]), len(products)), np.int64)
    documents = np.arange(len(products))
    for probe in range(len(found)):
        found[probe] = products.argmax(axis=1)
        products[documents, found[probe]] = -np.inf
    return found
