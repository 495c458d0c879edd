"""The search for semantic duplicates in one group of sources, stage by stage.

Embeddings depend only on a shard and the token table. Centroids and cells depend also on which documents take part, but
not on the threshold. So a new threshold repeats only the last stages, and a new file embeds only its own texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import accumulate

import numpy as np

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.values.quantities import exact_string
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.dedup.group_bitmaps import apply_losers
from mixproof.pipeline.dedup.loser_blocks import Search
from mixproof.pipeline.dedup.losers import Settling, list_losers
from mixproof.pipeline.dedup.lost_documents import GroupResult
from mixproof.pipeline.group import GroupShard, save_group
from mixproof.pipeline.read.shards import Shard
from mixproof.pipeline.shuffle.document_rows import DocumentRows
from mixproof.pipeline.shuffle.plan import is_direct, power_of_two
from mixproof.pipeline.shuffle.shuffle import Shuffle

from .assignment import PROBES, assign_shards
from .cell_ranges import CellRanges, range_count
from .cell_search import CellSearch
from .centroids import cell_count
from .documents import STAGE, VERSION
from .fine_cells import fine_cell_count
from .keepers import COSINES, settle_by_cosine
from .make_centroids import make_cells
from .vectors import STAGE as EMBEDDINGS
from .vectors import VECTORS, Embedding, embed_shards

LABEL = "semantic dedup"


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
        shuffle = Shuffle(STAGE, LABEL, self.store, self.cluster)
        documents = sum(shard.documents for shard in self.shards)
        table = DocumentRows(STAGE, group, documents, VECTORS, np.dtype(np.int16), embedding.table.dimensions)
        cells = self._cells(embedded, table, shuffle)
        settle, config = partial(settle_by_cosine, threshold=float(threshold)), {"threshold": exact_string(threshold)}
        how = Settling(table, settle, VERSION, config)
        losers = list_losers(cells.forests(threshold), how, shuffle, len(self.shards))
        search = Search(STAGE, VERSION, group, "semantic dedup bitmaps", (COSINES,))
        result = apply_losers(search, self.shards, self.keep, losers, self.store, self.cluster)
        identity = stage_key(STAGE, VERSION, config, [group])
        return Found(result, tuple(folders), identity)

    def _save(self, embedded: Sequence[Receipt], folders: Sequence[str]) -> str:
        """Save the list of shards for all tasks; returns its key."""
        identity = [
            [each.files[VECTORS].sha256, bitmap and bitmap.sha256]
            for each, bitmap in zip(embedded, self.keep, strict=True)
        ]
        group = stage_key(STAGE, VERSION, {"group": True}, identity)
        save_group(self.store, STAGE, group, self._members(folders))
        return group

    def _members(self, folders: Sequence[str]) -> list[GroupShard]:
        firsts = list(accumulate((shard.documents for shard in self.shards), initial=0))[:-1]
        return [
            GroupShard(folder, first, None if bitmap is None else bitmap.path)
            for folder, first, bitmap in zip(folders, firsts, self.keep, strict=True)
        ]

    def _cells(self, embedded: Sequence[Receipt], table: DocumentRows, shuffle: Shuffle) -> CellSearch:
        """Put the documents into cells."""
        kept = [
            shard.documents if bitmap is None else bitmap.kept
            for shard, bitmap in zip(self.shards, self.keep, strict=True)
        ]
        probes = min(PROBES, cell_count(sum(kept)))
        documents = [shard.folder for shard in self.shards]
        few = is_direct(len(self.shards), power_of_two(range_count(sum(kept) * probes, fine_cell_count(sum(kept)))))
        cells = make_cells(table.group, documents, sum(kept), shuffle, are_few=few)
        ranges = CellRanges(cells.number, range_count(sum(kept) * probes, cells.number))
        folders = assign_shards(embedded, cells, self.store, self.cluster)
        records = tuple(documents * probes for documents in kept)
        return CellSearch(ranges, tuple(self._members(folders)), records, cells, table, shuffle)
