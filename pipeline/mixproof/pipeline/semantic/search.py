"""The search for semantic duplicates in one group of sources, stage by stage.

Embeddings depend only on a shard and the token table. Centroids and cells depend also on which documents take part, but
not on the threshold. So a new threshold repeats only the last stages, and a new file embeds only its own texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.values.quantities import exact_string
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.dedup.components import connect, trees_file
from mixproof.pipeline.dedup.edges import FOREST
from mixproof.pipeline.dedup.group_bitmaps import Search, apply_losers
from mixproof.pipeline.dedup.lost_documents import GroupResult
from mixproof.pipeline.group import GroupShard, save_group
from mixproof.pipeline.read.shards import Shard

from .assignment import PROBES, assign_shards
from .centroids import cell_count, find_centroids
from .documents import STAGE, VERSION
from .keepers import find_losers
from .neighbours import find_neighbours, range_count
from .vectors import STAGE as EMBEDDINGS
from .vectors import VECTORS, Embedding, embed_shards


@dataclass(frozen=True)
class Found:
    """What a search decided."""

    result: GroupResult
    vectors: tuple[str, ...]
    """The folder of each shard's vectors."""
    identity: str
    """What the result depends on."""


@dataclass(frozen=True)
class GroupSearch:
    """A group of sources to be searched."""

    shards: tuple[Shard, ...]
    """In order of priority."""
    keep: tuple[Bitmap | None, ...]
    """What earlier stages kept of each."""
    store: Store
    cluster: Cluster

    def run(self, embedding: Embedding, threshold: Fraction) -> Found:
        """Find the semantic duplicates.

        Args:
            embedding: how texts are embedded.
            threshold: smallest cosine of two duplicates.
        """
        embedded = embed_shards(self.shards, embedding, self.store, self.cluster)
        folders = [f"{EMBEDDINGS}/{each.key}" for each in embedded]
        group = self._save(embedded, folders)
        documents = sum(
            shard.documents if bitmap is None else bitmap.kept
            for shard, bitmap in zip(self.shards, self.keep, strict=True)
        )
        centroids = self._centroids(group, documents)
        records = assign_shards(embedded, centroids, self.store, self.cluster)
        forests = self._forests(group, records, documents, threshold)
        losers = self._losers(forests, group, threshold)
        search = Search(STAGE, VERSION, group, "semantic dedup bitmaps")
        result = apply_losers(search, self.shards, self.keep, losers, self.store, self.cluster)
        identity = stage_key(STAGE, VERSION, {"threshold": exact_string(threshold)}, [group])
        return Found(result, tuple(folders), identity)

    def _save(self, embedded: Sequence[Receipt], folders: Sequence[str]) -> str:
        """Save the list of shards for all tasks; returns its key."""
        firsts = list(accumulate((shard.documents for shard in self.shards), initial=0))[:-1]
        members = [
            GroupShard(folder, first, None if bitmap is None else bitmap.path)
            for folder, first, bitmap in zip(folders, firsts, self.keep, strict=True)
        ]
        identity = [
            [each.files[VECTORS].sha256, bitmap and bitmap.sha256]
            for each, bitmap in zip(embedded, self.keep, strict=True)
        ]
        group = stage_key(STAGE, VERSION, {"group": True}, identity)
        save_group(self.store, STAGE, group, members)
        return group

    def _centroids(self, group: str, documents: int) -> Receipt:
        key = stage_key(STAGE, VERSION, {"centroids": cell_count(documents)}, [group])
        folders = [shard.folder for shard in self.shards]

        def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
            return [(self.store, each, group, folders, documents) for each in missing]

        return run_missing(self.store, STAGE, {key: documents}, calls, find_centroids, self.cluster, "centroids")[key]

    def _forests(self, group: str, records: Sequence[str], documents: int, threshold: Fraction) -> list[Receipt]:
        """Search the cells, a range of them in each task."""
        cells = cell_count(documents)
        ranges = range_count(documents * min(PROBES, cells), cells)
        work = {}
        for number in range(ranges):
            config = {"range": [number, ranges], "cells": cells, "probes": PROBES, "threshold": exact_string(threshold)}
            key = stage_key(STAGE, VERSION, config, [group])
            work[key] = (number * cells // ranges, (number + 1) * cells // ranges)

        def calls(missing: Mapping[str, tuple[int, int]]) -> list[tuple[object, ...]]:
            return [(self.store, key, group, records, part, float(threshold)) for key, part in missing.items()]

        found = run_missing(self.store, STAGE, work, calls, find_neighbours, self.cluster, "semantic dedup")
        return [found[key] for key in work]

    def _losers(self, forests: Sequence[Receipt], group: str, threshold: Fraction) -> list[Receipt]:
        """Connect the forests of all ranges, then list the losers of each file of trees."""
        key = stage_key(STAGE, VERSION, {"trees": True}, [each.files[FOREST].sha256 for each in forests])

        def connect_calls(missing: Mapping[str, Sequence[str]]) -> list[tuple[object, ...]]:
            return [(self.store, STAGE, each, keys) for each, keys in missing.items()]

        work = {key: [each.key for each in forests]}
        trees = run_missing(self.store, STAGE, work, connect_calls, connect, self.cluster, "semantic components")[key]
        config = {"threshold": exact_string(threshold)}
        parts = {
            stage_key(STAGE, VERSION, {"losers": part, **config}, [group, trees.files[trees_file(part)].sha256]): part
            for part in range(int(trees.facts["files"]))
        }

        def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
            return [(self.store, each, key, part, group, float(threshold)) for each, part in missing.items()]

        receipts = run_missing(self.store, STAGE, parts, calls, find_losers, self.cluster, "semantic keepers")
        return [receipts[each] for each in parts]
