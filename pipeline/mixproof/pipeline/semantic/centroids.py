"""Cells: regions of the space of embeddings in which neighbours are looked for, given by their centroids.

Up to ONE_CELL documents are compared in one cell. Above, there are about as many cells as the root of twice the number
of documents, which makes finding a document's cells as costly as comparing the documents of cells. Centroids are found
by spherical k-means on the documents with the smallest text hashes, so they depend on neither shards nor workers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.clusters.kmeans import spherical_kmeans
from mixproof.pipeline.group import load_group
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.read.by_hash import HASH_SPACE, HASHED_DTYPE, documents_between, in_order

from .documents import STAGE
from .vectors import COMPARED, VECTORS

CENTROIDS = "centroids.npy"
"""int16 [cells, dimensions]; empty if there is one cell."""
SAMPLE = "sample.npy"
"""What `sample_below` gives."""
ONE_CELL = 16_384
MOST_CELLS = 4096
SAMPLE_PER_CELL = 16
WIDER = 1.25
"""The first range of hashes is this much wider than an even spread would need."""


def cell_count(documents: int) -> int:
    """The number of cells for a number of documents."""
    return 1 if documents <= ONE_CELL else min(MOST_CELLS, math.isqrt(2 * documents))


def sample_size(documents: int) -> int:
    """The number of documents among which centroids are found; 0 if there is one cell."""
    number = cell_count(documents)
    return SAMPLE_PER_CELL * number if number > 1 else 0


def sample_bounds(documents: int) -> Iterator[int]:
    """Upper bounds of the hashes of a sample, each for when the one before gave too few documents; the last is 2^64."""
    high = int(WIDER * sample_size(documents) / documents * HASH_SPACE)
    while high < HASH_SPACE:
        yield high
        high *= 2
    yield HASH_SPACE


def sample_below(store: Store, group: str, folders: Sequence[str], first: int, high: int) -> NDArray[Any]:
    """The documents of consecutive shards that are compared and whose hash is below `high`, with their vectors.

    Args:
        store: the store.
        group: key of the list of shards.
        folders: of the documents of each of these shards.
        first: index of the first one in the group.
        high: bound of the upper half of the hash.

    Returns:
        HASHED_DTYPE and `vector`, int16 [dimensions].
    """
    shards = load_group(store, STAGE, group)[first : first + len(folders)]
    parts = []
    for index, (shard, folder) in enumerate(zip(shards, folders, strict=True), first):
        found = documents_between(store, folder, index, 0, high)
        compared = load_array(store.path(f"{shard.folder}/{COMPARED}"), mmap_mode="r")[found["row"]]
        if shard.bitmap is not None:
            compared = compared & load_array(store.path(shard.bitmap), mmap_mode="r")[found["row"]]
        found = found[compared]
        vectors = load_array(store.path(f"{shard.folder}/{VECTORS}"), mmap_mode="r")
        part = np.empty(len(found), np.dtype([*HASHED_DTYPE.descr, ("vector", np.int16, vectors.shape[1:])]))
        for name in HASHED_DTYPE.names or ():
            part[name] = found[name]
        part["vector"] = vectors[found["row"]]
        parts.append(part)
    return np.concatenate(parts)


def write_sample(store: Store, key: str, group: str, folders: Sequence[str], first: int, high: int) -> None:
    """Write `sample_below` of some shards; the fact `documents` is their number."""
    found = sample_below(store, group, folders, first, high)
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(SAMPLE).open("wb") as file:
            np.save(file, found, allow_pickle=False)
        attempt.commit(facts={"documents": len(found)})


def find_centroids(store: Store, key: str, group: str, folders: Sequence[str], documents: int) -> None:
    """Write the centroids of a group.

    Args:
        store: the store.
        key: of this output.
        group: key of the list of shards.
        folders: of the documents of each shard.
        documents: that take part.
    """
    sample: NDArray[Any] | None = None
    for high in sample_bounds(documents) if sample_size(documents) else ():
        sample = sample_below(store, group, folders, 0, high)
        if len(sample) >= sample_size(documents):
            break
    _write(store, key, sample, documents)


def find_centroids_of(store: Store, key: str, samples: Sequence[str], documents: int) -> None:
    """Write the centroids of a group of many shards, from the samples of all of them, given by their keys."""
    found = [load_array(store.path(f"{STAGE}/{sample}/{SAMPLE}")) for sample in samples]
    _write(store, key, np.concatenate(found) if found else None, documents)


def _write(store: Store, key: str, sample: NDArray[Any] | None, documents: int) -> None:
    """Write the centroids of the documents with the smallest hashes of `sample`."""
    found = np.zeros((0, 0), np.int16)
    if sample is not None and len(sample):
        points = np.ascontiguousarray(in_order(sample)[: sample_size(documents)]["vector"])
        found = spherical_kmeans(points, np.ones(len(points), np.int64), cell_count(documents))
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(CENTROIDS).open("wb") as file:
            np.save(file, found, allow_pickle=False)
        attempt.commit()
