"""Fine cells: the cells of a large group, divided so that their number grows with the documents.

Above FEW documents a group has MOST_CELLS coarse cells (`centroids.py`). Each is divided into one fine cell for every
FINE_CELL of its documents, so a frequent topic has more of them, and comparing takes time in proportion to the
documents. The centroids of fine cells are found on a sample: the documents whose text hash is in the first part of all
hashes. So they depend on neither shards nor workers, and equal texts count once.
Memory of a task: the sample of a range of coarse cells, 67 MB on average with 256 dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.clusters.kmeans import spherical_kmeans
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.read.by_hash import HASH_SPACE, first_of_each
from mixproof.pipeline.shuffle.plan import power_of_two
from mixproof.pipeline.shuffle.runs import as_bytes, write_run
from mixproof.pipeline.shuffle.shuffle import partition_of

from .centroids import CENTROIDS, MOST_CELLS, SAMPLE_PER_CELL, cell_count, sample_below
from .documents import STAGE, Vectors
from .nearest import nearest

FINE = "fine.npy"
"""int16 [fine cells, dimensions], those of one coarse cell after the other."""
SIZES = "sizes.npy"
"""int64 [coarse cells]: the number of fine cells of each, at least one."""
FEW = MOST_CELLS * MOST_CELLS // 2
"""Documents up to which cells are not divided: `cell_count` reaches its limit there."""
FINE_CELL = 2048
"""Documents of a fine cell on average, as many as a cell of FEW documents has."""
TASK_SAMPLE = 1 << 16
"""Documents of the sample that a task divides on average."""
MOST_AT_ONCE = 512
"""Centroids that are found together. More are found in two steps, because k-means takes time in proportion to the
product of points and centroids."""


def fine_cell_count(documents: int) -> int:
    """The number of cells for a number of documents, about: decided by the sample where coarse cells are divided."""
    return cell_count(documents) if documents <= FEW else documents // FINE_CELL


def sample_bound() -> int:
    """The upper bound of the hashes of the sample."""
    return min(HASH_SPACE, HASH_SPACE * SAMPLE_PER_CELL // FINE_CELL)


def partition_count(documents: int) -> int:
    """The number of tasks that divide coarse cells, a power of two; `documents`: in the group."""
    sample = documents * SAMPLE_PER_CELL // FINE_CELL
    return min(power_of_two(MOST_CELLS), power_of_two(-(-sample // TASK_SAMPLE)))


def width_of(coarse: int, partitions: int) -> int:
    """Coarse cells of a partition."""
    return -(-coarse // partitions)


def sample_dtype(dimensions: int) -> np.dtype[Any]:
    """A document of the sample: the halves of its text's hash, its coarse cell and its vector."""
    return np.dtype([("high", "<u8"), ("low", "<u8"), ("cell", "<i4"), ("vector", "<i2", (dimensions,))])


def write_fine_sample(
    store: Store, key: str, group: str, folders: Sequence[str], first: int, coarse: str, partitions: int
) -> None:
    """Write the sample of consecutive shards, as a run by partition of coarse cells.

    Args:
        store: the store.
        key: of this output.
        group: key of the list of shards.
        folders: of the documents of each of these shards.
        first: index of the first one in the group.
        coarse: key of the coarse centroids.
        partitions: of the coarse cells.
    """
    centroids = load_array(store.path(f"{STAGE}/{coarse}/{CENTROIDS}"))
    found = first_of_each(sample_below(store, group, folders, first, sample_bound()))
    records = np.empty(len(found), sample_dtype(centroids.shape[1]))
    for name in ("high", "low", "vector"):
        records[name] = found[name]
    records["cell"] = nearest(found["vector"], centroids, 1)[0]
    records = records[np.argsort(records["cell"], kind="stable")]
    bounds = width_of(len(centroids), partitions) * np.arange(partitions + 1)
    ends = np.searchsorted(records["cell"], bounds).tolist()
    with store.attempt(STAGE, key) as attempt:
        write_run(attempt, ([as_bytes(records[start:end])] for start, end in pairwise(ends)))
        attempt.commit()


def divide_cells(store: Store, key: str, coarse: str, samples: str, partition: int, partitions: int) -> None:
    """Write the centroids of the fine cells of one partition; `samples`: key of the shuffle of the samples."""
    centroids = load_array(store.path(f"{STAGE}/{coarse}/{CENTROIDS}"))
    data = b"".join(partition_of(store, STAGE, samples, partition))
    records = np.frombuffer(data, sample_dtype(centroids.shape[1]))
    order = np.lexsort((records["low"], records["high"], records["cell"]))
    width = width_of(len(centroids), partitions)
    first, last = (min(len(centroids), number * width) for number in (partition, partition + 1))
    ends = np.searchsorted(records["cell"][order], np.arange(first, last + 1)).tolist()
    found = [centroids[:0]]
    for cell, (start, end) in enumerate(pairwise(ends), first):
        points = _distinct(records, order[start:end])
        found.append(fine_centroids(points) if len(points) else centroids[cell : cell + 1])
    with store.attempt(STAGE, key) as attempt:
        for name, values in ((FINE, np.concatenate(found)), (SIZES, np.array([*map(len, found[1:])], np.int64))):
            with attempt.path(name).open("wb") as file:
                np.save(file, values, allow_pickle=False)
        attempt.commit()


def _distinct(records: NDArray[Any], rows: NDArray[np.int64]) -> Vectors:
    """The vectors of the documents at `rows`, in the order of their hashes, each hash once."""
    high, low = records["high"][rows], records["low"][rows]
    is_first = np.append(True, (high[1:] != high[:-1]) | (low[1:] != low[:-1]))[: len(rows)]
    return np.ascontiguousarray(records["vector"][rows[is_first]])


def fine_centroids(points: Vectors) -> NDArray[np.int16]:
    """Find one centroid for every SAMPLE_PER_CELL points, at least one and fewer if few points differ.

    Args:
        points: int16 [points, dimensions], at least one, none zero.
    """
    number = -(-len(points) // SAMPLE_PER_CELL)
    if number <= MOST_AT_ONCE:
        return spherical_kmeans(points, np.ones(len(points), np.int64), number)
    groups = math.isqrt(number)
    some = points[: SAMPLE_PER_CELL * groups]
    centres = spherical_kmeans(some, np.ones(len(some), np.int64), groups)
    owner = nearest(points, centres, 1)[0]
    members = [points[owner == each] for each in range(len(centres))]
    if max(map(len, members)) == len(points):
        return centres  # nearly all points are equal
    return np.concatenate([fine_centroids(each) for each in members if len(each)])


def join_cells(store: Store, key: str, parts: Sequence[str]) -> None:
    """Write the fine cells of all partitions as one output; the fact `cells` is their number."""
    folders = [f"{STAGE}/{part}" for part in parts]
    sizes = np.concatenate([load_array(store.path(f"{folder}/{SIZES}")) for folder in folders])
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(SIZES).open("wb") as file:
            np.save(file, sizes, allow_pickle=False)
        with attempt.path(FINE).open("wb") as file:
            for number, folder in enumerate(folders):
                part = load_array(store.path(f"{folder}/{FINE}"), mmap_mode="r")
                if not number:
                    shape = (int(sizes.sum()), part.shape[1])
                    header = {"descr": "<i2", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(as_bytes(part))
        attempt.commit(facts={"cells": int(sizes.sum())})
