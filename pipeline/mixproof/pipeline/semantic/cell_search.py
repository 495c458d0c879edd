"""Drive the comparison of documents: tasks over ranges of cells and over blocks of large cells.

With many shards, shuffles bring the records of cells and the vectors to these tasks in large groups.
"""

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
from mixproof.pipeline.shuffle.shuffle import Ranges, Shuffle

from . import large_cells
from .assignment import PROBES
from .cell_ranges import CellRanges
from .cells import Cells
from .centroids import CENTROIDS
from .documents import STAGE, VERSION
from .large_cells import LargeCells, compare_blocks, find_large, may_have_large, numbered
from .range_tasks import find_neighbours, list_members

LISTS_VERSION = 2
"""Of what is needed only while forests are missing."""


@dataclass(frozen=True)
class CellSearch:
    """Documents in cells, ready to be compared."""

    ranges: CellRanges
    shards: tuple[GroupShard, ...]
    """With the folder of each shard's cells."""
    records: tuple[int, ...]
    """Of each shard, about."""
    cells: Cells
    table: DocumentRows
    """The vectors."""
    shuffle: Shuffle

    def forests(self, threshold: Fraction) -> list[Receipt]:
        """Connect the similar documents of each range of cells; `threshold`: smallest cosine of two."""
        group, store, ranges = self.table.group, self.shuffle.store, self.ranges
        config = {"cells": ranges.cells, "probes": PROBES, **self.cells.config}
        threshold_config = {**config, "threshold": exact_string(threshold)}
        work = {
            stage_key(STAGE, VERSION, {"range": [number, ranges.count], **threshold_config}, [group]): number
            for number in range(ranges.count)
        }

        def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
            identity = stage_key(STAGE, LISTS_VERSION, config, [group, self.cells.coarse.files[CENTROIDS].sha256])
            records = self.shuffle.by_range(identity, ranges.table, self.shards, self.records, ranges.partitions)
            large = self._large(records, identity)
            fetched = self._fetch(records, large, identity) if records.is_shuffled else None
            forests = self._compare_large(large, set(missing.values()), fetched, threshold)
            return [
                (
                    *(store, key, records, number, self.table),
                    None if fetched is None else (fetched, large[number].piece),
                    *(float(threshold), forests.get(number, [])),
                )
                for key, number in missing.items()
            ]

        found = run_missing(store, STAGE, work, calls, find_neighbours, self.shuffle.cluster, self.shuffle.label)
        return [found[key] for key in work]

    def _large(self, records: Ranges, identity: str) -> list[LargeCells]:
        """The large cells of each range."""
        if not may_have_large(max(1, self.table.documents), sum(self.records)):
            return [LargeCells("", number, ()) for number in range(self.ranges.count)]
        config = {"ranges": self.ranges.count, "pairs": large_cells.TASK_PAIRS}
        work = {
            stage_key(STAGE, LISTS_VERSION, {"large cells": number, **config}, [identity]): number
            for number in range(self.ranges.count)
        }

        def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
            return [(self.shuffle.store, key, records, number) for key, number in missing.items()]

        shuffle = self.shuffle
        found = run_missing(shuffle.store, STAGE, work, calls, find_large, shuffle.cluster, shuffle.label)
        return numbered([found[key] for key in work])

    def _fetch(self, records: Ranges, large: list[LargeCells], identity: str) -> str:
        """Bring the vectors to the tasks; returns the key of the shuffle."""
        store, cluster = self.shuffle.store, self.shuffle.cluster
        lists = {
            stage_key(STAGE, LISTS_VERSION, {"members": number, "ranges": self.ranges.count}, [identity, repr(each)]): (
                number,
                each,
            )
            for number, each in enumerate(large)
        }

        def calls(missing: Mapping[str, tuple[int, LargeCells]]) -> list[tuple[object, ...]]:
            return [(store, key, records, number, each, self.table) for key, (number, each) in missing.items()]

        found = run_missing(store, STAGE, lists, calls, list_members, cluster, self.shuffle.label)
        return fetch(list(lists), found, large[-1].piece + large[-1].pieces, self.table, self.shuffle)

    def _compare_large(
        self, large: list[LargeCells], ranges: set[int], fetched: str | None, threshold: Fraction
    ) -> dict[int, list[str]]:
        """Compare the blocks of large cells; returns the keys of the forests of each range that has any."""
        config = {"blocks": large_cells.BLOCK_DOCUMENTS, "threshold": exact_string(threshold)}
        work, keys = {}, dict[int, list[str]]()
        for number in sorted(ranges):
            for one, other in large[number].pairs:
                pair = {"pair": [one.start, other.start], **config}
                key = stage_key(STAGE, LISTS_VERSION, pair, [large[number].key])
                work[key] = large[number].key, (one, other)
                keys.setdefault(number, []).append(key)

        def calls(missing: Mapping[str, tuple[str, object]]) -> list[tuple[object, ...]]:
            store, table = self.shuffle.store, self.table
            return [(store, key, *each, table, fetched, float(threshold)) for key, each in missing.items()]

        shuffle = self.shuffle
        run_missing(shuffle.store, STAGE, work, calls, compare_blocks, shuffle.cluster, shuffle.label)
        return keys
