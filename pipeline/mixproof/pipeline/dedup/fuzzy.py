"""Fuzzy deduplication of a group of sources: signatures, edges, connected components, keepers, bitmaps.

It runs on the documents that exact deduplication kept. Documents are numbered over the group's shards in order of
priority: by (declared priority of the source, source name, file, record). The first document of a component stays and
those similar to it are dropped; of the remaining ones the first stays, and so on (`keepers.py`). That order, and so
every decision, depends neither on the split into shards nor on the number of ranges or workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from itertools import accumulate

import numpy as np

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.blocks.dedup import FuzzyDedup
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.group import GroupShard, save_group
from mixproof.pipeline.read.shards import Shard
from mixproof.pipeline.shuffle.document_rows import DocumentRows
from mixproof.pipeline.shuffle.plan import is_direct
from mixproof.pipeline.shuffle.shuffle import Shuffle

from .buckets import BAND_TABLE, range_count
from .edges import STAGE, find_edges
from .far_edges import compare_buckets, list_buckets
from .group_bitmaps import apply_losers
from .keepers import settle_by_signature
from .loser_blocks import Search
from .losers import Settling, list_losers
from .lost_documents import GroupResult
from .minhash import Sketch
from .signatures import SIGNATURES, sign

VERSION = 2
LABEL = "fuzzy dedup"


def deduplicate_fuzzily(
    shards: Sequence[Shard],
    keep: Sequence[Bitmap | None],
    rule: FuzzyDedup,
    store: Store,
    cluster: Cluster,
    by_prompt: Sequence[bool] = (),
) -> GroupResult:
    """Deduplicate a group's shards, given in order of priority.

    Args:
        shards: the shards.
        keep: what exact deduplication kept of each.
        rule: shape of the signatures, and the threshold.
        store: where outputs go.
        cluster: runs the tasks.
        by_prompt: whether the documents of each shard are conversations that are compared by their prompts.
    """
    sketch = Sketch(rule.ngram, rule.bands, rule.rows)
    folders = sign(shards, sketch, store, cluster, by_prompt)
    search = _GroupSearch(shards, keep, rule, folders, store, cluster)
    return apply_losers(search.applied, shards, keep, search.losers(search.forests()), store, cluster)


def equal_minima(threshold: Fraction, minima: int) -> int:
    """Return how many minima must be equal for an edge: `threshold` of all, rounded up, at least 1."""
    return max(1, -(-threshold.numerator * minima // threshold.denominator))


class _GroupSearch:
    """The search in one group, after its signatures were made."""

    def __init__(
        self,
        shards: Sequence[Shard],
        keep: Sequence[Bitmap | None],
        rule: FuzzyDedup,
        folders: Sequence[str],
        store: Store,
        cluster: Cluster,
    ) -> None:
        firsts = list(accumulate((shard.documents for shard in shards), initial=0))
        self._members = [
            GroupShard(folder, first, None if bitmap is None else bitmap.path)
            for folder, first, bitmap in zip(folders, firsts[:-1], keep, strict=True)
        ]
        sketch = Sketch(rule.ngram, rule.bands, rule.rows)
        self._agree = equal_minima(rule.threshold, sketch.minima)
        config = {"ngram": rule.ngram, "bands": rule.bands, "rows": rule.rows, "agree": self._agree}
        identity = [
            [each.folder, each.bitmap, bitmap and bitmap.sha256]
            for each, bitmap in zip(self._members, keep, strict=True)
        ]
        self._group = stage_key(STAGE, VERSION, config, identity)
        save_group(store, STAGE, self._group, self._members)
        dtype = np.dtype(np.uint16)
        self._signatures = DocumentRows(STAGE, self._group, firsts[-1], SIGNATURES, dtype, sketch.minima)
        kept = (shard.documents if bitmap is None else bitmap.kept for shard, bitmap in zip(shards, keep, strict=True))
        self._bands = [documents * sketch.bands for documents in kept]
        self._ranges = range_count(sum(self._bands))
        self._store, self._cluster = store, cluster
        self._shuffle = Shuffle(STAGE, LABEL, store, cluster)

    @property
    def applied(self) -> Search:
        """The search as the tasks that write bitmaps see it."""
        return Search(STAGE, VERSION, self._group, "fuzzy dedup bitmaps")

    @property
    def _is_direct(self) -> bool:
        return is_direct(len(self._members), self._ranges)

    def forests(self) -> list[Receipt]:
        """Find the edges, range by range."""
        store, ranges, table = self._store, self._ranges, self._signatures
        keys = [stage_key(STAGE, VERSION, {"range": [n, ranges]}, [self._group]) for n in range(ranges)]
        numbers = {key: number for number, key in enumerate(keys)}

        def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
            bands = self._shuffle.by_range(self._group, BAND_TABLE, self._members, self._bands, ranges)
            if not bands.is_shuffled:
                return [(store, key, table, bands, number, self._agree) for key, number in missing.items()]
            lists, fetched = list_buckets(bands, table, self._shuffle)
            return [(store, key, lists[n], table, fetched, n, self._agree) for key, n in missing.items()]

        task = find_edges if self._is_direct else compare_buckets
        found = run_missing(store, STAGE, numbers, calls, task, self._cluster, LABEL)
        return [found[key] for key in keys]

    def losers(self, forests: Sequence[Receipt]) -> list[Receipt]:
        """List the losers of all components; returns the lists' receipts."""
        how = Settling(self._signatures, partial(settle_by_signature, agree=self._agree), VERSION, {})
        return list_losers(forests, how, self._shuffle, len(self._members))
