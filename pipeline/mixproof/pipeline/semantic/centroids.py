"""Cells: regions of the space of embeddings in which neighbours are looked for, given by their centroids.

Up to ONE_CELL documents are compared in one cell. Above, there are about as many cells as the root of twice the number
of documents, which makes finding a document's cells as costly as comparing the documents of cells. Centroids are found
by spherical k-means on the documents with the smallest text hashes, so they depend on neither shards nor workers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.clusters.kmeans import spherical_kmeans
from mixproof.pipeline.group import GroupShard, load_group
from mixproof.pipeline.read.by_hash import HASH_SPACE, documents_between, in_order

from .documents import STAGE
from .vectors import COMPARED, VECTORS

CENTROIDS = "centroids.npy"
"""int16 [cells, dimensions]; empty if there is one cell."""
ONE_CELL = 16_384
MOST_CELLS = 4096
SAMPLE_PER_CELL = 16
WIDER = 1.25
"""The first range of hashes is this much wider than an even spread would need."""


def cell_count(documents: int) -> int:
    """The number of cells for a number of documents."""
    return 1 if documents <= ONE_CELL else min(MOST_CELLS, math.isqrt(2 * documents))


def find_centroids(store: Store, key: str, group: str, folders: Sequence[str], documents: int) -> None:
    """Write the centroids of a group.

    Args:
        store: the store.
        key: of this output.
        group: key of the list of shards.
        folders: of the documents of each shard.
        documents: that take part.
    """
    number = cell_count(documents)
    shards = load_group(store, STAGE, group)
    found = np.zeros((0, 0), np.int16)
    if number > 1:
        points = _sample(store, shards, folders, documents, number * SAMPLE_PER_CELL)
        found = spherical_kmeans(points, np.ones(len(points), np.int64), number) if len(points) else found
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(CENTROIDS).open("wb") as file:
            np.save(file, found, allow_pickle=False)
        attempt.commit()


def _sample(
    store: Store, shards: Sequence[GroupShard], folders: Sequence[str], documents: int, size: int
) -> NDArray[np.int16]:
    """The vectors of the `size` documents with the smallest hashes that are compared, in the order of their hashes."""
    share = WIDER * size / documents
    while True:
        high = min(HASH_SPACE, int(share * HASH_SPACE))
        found = in_order(np.concatenate([_compared(store, *pair) for pair in _ranges(shards, folders, high)]))
        if len(found) >= size or high == HASH_SPACE:
            return _vectors(store, shards, found[:size])
        share *= 2


def _ranges(
    shards: Sequence[GroupShard], folders: Sequence[str], high: int
) -> list[tuple[GroupShard, tuple[str, int, int]]]:
    return [(shard, (folder, index, high)) for index, (shard, folder) in enumerate(zip(shards, folders, strict=True))]


def _compared(store: Store, shard: GroupShard, place: tuple[str, int, int]) -> NDArray[Any]:
    """The documents of a shard below a hash that take part: HASHED_DTYPE."""
    folder, index, high = place
    found = documents_between(store, folder, index, 0, high)
    if shard.bitmap is not None:
        found = found[np.load(store.path(shard.bitmap), mmap_mode="r")[found["row"]]]
    compared: NDArray[Any] = found[np.load(store.path(f"{shard.folder}/{COMPARED}"), mmap_mode="r")[found["row"]]]
    return compared


def _vectors(store: Store, shards: Sequence[GroupShard], documents: NDArray[Any]) -> NDArray[np.int16]:
    if not len(documents):
        return np.zeros((0, 0), np.int16)
    points: list[NDArray[np.int16]] = []
    for index in np.unique(documents["shard"]).tolist():
        rows = documents["row"][documents["shard"] == index]
        points.append(np.load(store.path(f"{shards[index].folder}/{VECTORS}"), mmap_mode="r")[rows])
    order = np.argsort(documents["shard"], kind="stable")
    return np.concatenate(points)[np.argsort(order, kind="stable")]
