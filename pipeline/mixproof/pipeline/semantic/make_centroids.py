"""Drive the search for centroids: one task, or samples of the shards first if they are many; then fine cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.read.batches import SHARDS_PER_TASK
from mixproof.pipeline.shuffle.shuffle import Shuffle

from . import fine_cells
from .cells import Cells
from .centroids import (
    CENTROIDS,
    cell_count,
    find_centroids,
    find_centroids_of,
    sample_bounds,
    sample_size,
    write_sample,
)
from .documents import STAGE, VERSION
from .fine_cells import divide_cells, join_cells, partition_count, sample_bound, write_fine_sample

LABEL = "centroids"
SAMPLE_VERSION = 1
FINE_VERSION = 1


def make_cells(group: str, folders: Sequence[str], documents: int, shuffle: Shuffle, *, are_few: bool) -> Cells:
    """Find the cells of a group; arguments as for `make_centroids`."""
    coarse = make_centroids(group, folders, documents, shuffle, are_few=are_few)
    if documents <= fine_cells.FEW:
        return Cells(coarse, None, cell_count(documents))
    fine = _divide(group, folders, documents, coarse, shuffle)
    return Cells(coarse, fine, int(fine.facts["cells"]))


def _divide(group: str, folders: Sequence[str], documents: int, coarse: Receipt, shuffle: Shuffle) -> Receipt:
    """Divide coarse cells into fine ones."""
    store, cluster, partitions = shuffle.store, shuffle.cluster, partition_count(documents)
    identity = [group, coarse.files[CENTROIDS].sha256]
    config = {"bound": sample_bound(), "shards": SHARDS_PER_TASK, "partitions": partitions}
    samples = {
        stage_key(STAGE, FINE_VERSION, {"fine sample": first, **config}, identity): first
        for first in range(0, len(folders), SHARDS_PER_TASK)
    }

    def sample_calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
        return [
            (store, key, group, folders[first : first + SHARDS_PER_TASK], first, coarse.key, partitions)
            for key, first in missing.items()
        ]

    key = stage_key(STAGE, FINE_VERSION, {"fine cells": True}, list(samples))
    parts = {stage_key(STAGE, FINE_VERSION, {"divided": part}, [key]): part for part in range(partitions)}

    def divide_calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
        found = run_missing(store, STAGE, samples, sample_calls, write_fine_sample, cluster, LABEL)
        runs = shuffle.merge(list(samples), found, partitions)
        return [(store, each, coarse.key, runs, part, partitions) for each, part in missing.items()]

    def join_calls(missing: Mapping[str, Sequence[str]]) -> list[tuple[object, ...]]:
        run_missing(store, STAGE, parts, divide_calls, divide_cells, cluster, LABEL)
        return [(store, each, keys) for each, keys in missing.items()]

    return run_missing(store, STAGE, {key: list(parts)}, join_calls, join_cells, cluster, LABEL)[key]


def make_centroids(group: str, folders: Sequence[str], documents: int, shuffle: Shuffle, *, are_few: bool) -> Receipt:
    """Find the centroids of a group's coarse cells, which are all cells of most groups.

    Args:
        group: key of the list of shards.
        folders: of the documents of each shard.
        documents: that take part.
        shuffle: has the store and the cluster.
        are_few: whether one task may open all shards.
    """
    store, cluster = shuffle.store, shuffle.cluster
    key = stage_key(STAGE, VERSION, {"centroids": cell_count(documents)}, [group])

    def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
        if are_few:
            return [(store, each, group, folders, documents) for each in missing]
        samples = _samples(group, folders, documents, shuffle)
        return [(store, each, samples, documents) for each in missing]

    task = find_centroids if are_few else find_centroids_of
    return run_missing(store, STAGE, {key: documents}, calls, task, cluster, LABEL)[key]


def _samples(group: str, folders: Sequence[str], documents: int, shuffle: Shuffle) -> list[str]:
    """Write the samples of all shards, with a higher bound until they are large enough; returns their keys."""
    store, size = shuffle.store, sample_size(documents)
    work: dict[str, int] = {}

    for high in sample_bounds(documents) if size else ():
        work = {
            stage_key(STAGE, SAMPLE_VERSION, {"sample": first, "shards": SHARDS_PER_TASK, "high": high}, [group]): first
            for first in range(0, len(folders), SHARDS_PER_TASK)
        }

        def calls(missing: Mapping[str, int], high: int = high) -> list[tuple[object, ...]]:
            return [
                (store, key, group, folders[first : first + SHARDS_PER_TASK], first, high)
                for key, first in missing.items()
            ]

        found = run_missing(store, STAGE, work, calls, write_sample, shuffle.cluster, LABEL)
        if sum(int(found[key].facts["documents"]) for key in work) >= size:
            break
    return list(work)
