"""Drive a shuffle: gather shards into runs, merge the runs, and find the runs of a partition.

The outputs are in the stage of the search that the records belong to. They are needed until the tasks over its ranges
have run, and `mixproof store gc` removes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Store
from mixproof.ledger.store.receipts import Receipts
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing

from .gather import Open, gather_shards, records_between
from .merge import merge_runs
from .plan import Level, gathered, is_direct, levels, merged_from
from .runs import RECORDS, Run, read_partition

VERSION = 1
LIST = "runs.json"


@dataclass(frozen=True)
class Table:
    """How the records of a shard are read."""

    open: Open
    """A function of a module, because tasks receive it."""
    dtype: np.dtype[Any]
    """Of the records; the first field is the hash, uint64."""


@dataclass(frozen=True)
class Ranges:
    """The records of shards, readable by range of hashes: from every shard, or from the runs of a shuffle."""

    table: Table
    count: int
    shards: tuple[Any, ...]
    """Empty if the records were shuffled."""
    stage: str = ""
    key: str = ""
    """Of the shuffle."""

    @property
    def is_shuffled(self) -> bool:
        """Whether there are so many shards that a task does not open all of them."""
        return not self.shards

    def read(self, store: Store, number: int) -> NDArray[Any]:
        """The records of a range in the order of their shards."""
        if self.is_shuffled:
            data = b"".join(partition_of(store, self.stage, self.key, number))
            return np.frombuffer(data, dtype=self.table.dtype)
        return records_between(store, self.table.open, self.shards, number, self.count)


@dataclass(frozen=True)
class Shuffle:
    """The shuffles of one search."""

    stage: str
    """Where the outputs go."""
    label: str
    """Names the tasks in progress."""
    store: Store
    cluster: Cluster

    def by_range(
        self, identity: str, table: Table, shards: Sequence[Any], records: Sequence[int], ranges: int
    ) -> Ranges:
        """Make the records of shards readable by range of hashes; takes no work if there are few shards.

        Args:
            identity: names the shards with their contents, and which of their records are meant.
            table: how the records of a shard are read.
            shards: describe the shards, in order.
            records: of each shard, about.
            ranges: number of ranges, a power of two.
        """
        if is_direct(len(shards), ranges):
            return Ranges(table, ranges, tuple(shards))
        members = {
            stage_key(self.stage, VERSION, {"gathered": list(bounds), "partitions": ranges}, [identity]): bounds
            for bounds in gathered(records)
        }

        def calls(missing: Mapping[str, tuple[int, int]]) -> list[tuple[object, ...]]:
            return [
                (self.store, self.stage, key, table.open, shards[first:last], sum(records[first:last]), ranges)
                for key, (first, last) in missing.items()
            ]

        found = run_missing(self.store, self.stage, members, calls, gather_shards, self.cluster, self.label)
        return Ranges(table, ranges, (), self.stage, self.merge(list(members), found, ranges))

    def merge(self, runs: Sequence[str], receipts: Receipts, partitions: int) -> str:
        """Merge runs that each have all partitions until few enough are left; returns the key for `partition_of`.

        Args:
            runs: keys of the runs, in order.
            receipts: of the runs.
            partitions: of each, a power of two.
        """
        total = sum(receipts[run].files[RECORDS].bytes for run in runs)
        key = stage_key(self.stage, VERSION, {"partitions": partitions}, list(runs))
        level, grid = Level(len(runs), 1), {(group, 0): run for group, run in enumerate(runs)}
        for depth, following in enumerate(levels(len(runs), partitions, total)):
            grid = self._merged(f"{key} {depth}", grid, level, following, partitions)
            level = following
        if self.store.receipt(self.stage, key) is None:
            keys = [[grid[group, segment] for segment in range(level.segments)] for group in range(level.groups)]
            with self.store.attempt(self.stage, key) as attempt:
                attempt.path(LIST).write_bytes(orjson.dumps({"partitions": partitions, "runs": keys}))
                attempt.commit()
        return key

    def _merged(
        self, identity: str, grid: Mapping[tuple[int, int], str], level: Level, following: Level, partitions: int
    ) -> dict[tuple[int, int], str]:
        """Merge the runs of one level; runs are given and returned by (group, segment)."""
        ratio = following.segments // level.segments
        keys = {
            cell: stage_key(self.stage, VERSION, {"merged": list(cell)}, [identity])
            for cell in product(range(following.groups), range(following.segments))
        }
        work = {key: cell for cell, key in keys.items()}

        @lru_cache
        def inputs(group: int, segment: int) -> tuple[Run, ...]:  # shared by the calls of `ratio` segments
            first = level.bounds(segment, partitions)[0]
            members = merged_from(group, level.groups)
            return tuple(Run(f"{self.stage}/{grid[member, segment]}", first) for member in members)

        def calls(missing: Mapping[str, tuple[int, int]]) -> list[tuple[object, ...]]:
            return [
                (self.store, self.stage, key, inputs(group, segment // ratio), *following.bounds(segment, partitions))
                for key, (group, segment) in missing.items()
            ]

        run_missing(self.store, self.stage, work, calls, merge_runs, self.cluster, self.label)
        return keys


def partition_of(store: Store, stage: str, key: str, number: int) -> Iterator[memoryview]:
    """Yield the bytes of a partition's records in pieces, in the order of the shards."""
    partitions, runs = _load(str(store), stage, key)
    segments = len(runs[0])
    width = partitions // segments
    segment = number // width
    return read_partition(store, [Run(f"{stage}/{group[segment]}", segment * width) for group in runs], number)


@lru_cache(maxsize=4)
def _load(store: str, stage: str, key: str) -> tuple[int, list[list[str]]]:
    saved = orjson.loads(Store(store).path(f"{stage}/{key}/{LIST}").read_bytes())
    return saved["partitions"], saved["runs"]
