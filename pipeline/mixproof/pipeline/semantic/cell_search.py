"""Drive the comparison of documents: a task for each range of cells, whose records shuffles bring in large groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt
from mixproof.mixtures.values.quantities import exact_string
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.group import GroupShard
from mixproof.pipeline.shuffle.document_rows import DocumentRows
from mixproof.pipeline.shuffle.fetch import fetch
from mixproof.pipeline.shuffle.plan import is_direct
from mixproof.pipeline.shuffle.shuffle import Ranges, Shuffle

from .assignment import PROBES
from .cell_ranges import CellRanges
from .centroids import CENTROIDS
from .documents import STAGE, VERSION
from .neighbours import find_neighbours, list_members

LISTS_VERSION = 1


@dataclass(frozen=True)
class CellSearch:
    """Documents in cells, ready to be compared."""

    ranges: CellRanges
    shards: tuple[GroupShard, ...]
    """With the folder of each shard's cells."""
    records: tuple[int, ...]
    """Of each shard, about."""
    centroids: Receipt
    table: DocumentRows
    """The vectors."""
    shuffle: Shuffle

    @property
    def is_direct(self) -> bool:
        """Whether each task may open all shards."""
        return is_direct(len(self.shards), self.ranges.partitions)

    def forests(self, threshold: Fraction) -> list[Receipt]:
        """Connect the similar documents of each range of cells; `threshold`: smallest cosine of two."""
        group, store, ranges = self.table.group, self.shuffle.store, self.ranges
        config = {"cells": ranges.cells, "probes": PROBES}
        threshold_config = {**config, "threshold": exact_string(threshold)}
        work = {
            stage_key(STAGE, VERSION, {"range": [number, ranges.count], **threshold_config}, [group]): number
            for number in range(ranges.count)
        }

        def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
            identity = stage_key(STAGE, LISTS_VERSION, config, [group, self.centroids.files[CENTROIDS].sha256])
            cells = self.shuffle.by_range(identity, ranges.table, self.shards, self.records, ranges.partitions)
            fetched = self._fetch(cells, identity) if cells.is_shuffled else None
            return [
                (store, key, cells, number, self.table, fetched, float(threshold)) for key, number in missing.items()
            ]

        found = run_missing(store, STAGE, work, calls, find_neighbours, self.shuffle.cluster, self.shuffle.label)
        return [found[key] for key in work]

    def _fetch(self, cells: Ranges, identity: str) -> str:
        """Bring the vectors to the tasks over ranges; returns the key of the shuffle."""
        store, cluster = self.shuffle.store, self.shuffle.cluster
        lists = {
            stage_key(STAGE, LISTS_VERSION, {"members": number, "ranges": self.ranges.count}, [identity]): number
            for number in range(self.ranges.count)
        }

        def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
            return [(store, key, cells, number, self.table) for key, number in missing.items()]

        found = run_missing(store, STAGE, lists, calls, list_members, cluster, self.shuffle.label)
        return fetch(list(lists), found, self.table, self.shuffle)
