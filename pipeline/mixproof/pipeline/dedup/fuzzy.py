"""Fuzzy deduplication of a group of sources: signatures, edges, connected components, keepers, bitmaps.

It runs on the documents that exact deduplication kept. Documents are numbered over the group's shards in order of
priority: by (declared priority of the source, source name, file, record). The first document of a component stays and
those similar to it are dropped; of the remaining ones the first stays, and so on (`keepers.py`). That order, and so
every decision, depends neither on the split into shards nor on the number of ranges or workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import accumulate

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.blocks.dedup import FuzzyDedup
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.group import GroupShard, save_group
from mixproof.pipeline.read.shards import Shard

from .components import connect, trees_file
from .edges import FOREST, STAGE, find_edges, range_count
from .group_bitmaps import Search, apply_losers
from .keepers import find_losers
from .lost_documents import GroupResult
from .minhash import Sketch
from .signatures import sign

VERSION = 2


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
    agree = equal_minima(rule.threshold, sketch.minima)
    group = _save_group(shards, keep, rule, agree, sign(shards, sketch, store, cluster, by_prompt), store)
    documents = sum(
        shard.documents if bitmap is None else bitmap.kept for shard, bitmap in zip(shards, keep, strict=True)
    )
    ranges = range_count(documents * sketch.bands)
    numbers = {stage_key(STAGE, VERSION, {"range": [n, ranges]}, [group]): n for n in range(ranges)}

    def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
        return [(store, key, group, number, ranges, agree) for key, number in missing.items()]

    forests = run_missing(store, STAGE, numbers, calls, find_edges, cluster, "fuzzy dedup")
    losers = _losers([forests[key] for key in numbers], group, agree, store, cluster)
    return apply_losers(Search(STAGE, VERSION, group, "fuzzy dedup bitmaps"), shards, keep, losers, store, cluster)


def equal_minima(threshold: Fraction, minima: int) -> int:
    """Return how many minima must be equal for an edge: `threshold` of all, rounded up, at least 1."""
    return max(1, -(-threshold.numerator * minima // threshold.denominator))


def _save_group(
    shards: Sequence[Shard],
    keep: Sequence[Bitmap | None],
    rule: FuzzyDedup,
    agree: int,
    folders: Sequence[str],
    store: Store,
) -> str:
    """Save the list of shards, with the `folders` of their signatures, for all tasks; returns its key."""
    firsts = list(accumulate((shard.documents for shard in shards), initial=0))[:-1]
    members = [
        GroupShard(folder, first, None if bitmap is None else bitmap.path)
        for folder, first, bitmap in zip(folders, firsts, keep, strict=True)
    ]
    config = {"ngram": rule.ngram, "bands": rule.bands, "rows": rule.rows, "agree": agree}
    identity = [
        [each.folder, each.bitmap, bitmap and bitmap.sha256] for each, bitmap in zip(members, keep, strict=True)
    ]
    group = stage_key(STAGE, VERSION, config, identity)
    save_group(store, STAGE, group, members)
    return group


def _losers(forests: Sequence[Receipt], group: str, agree: int, store: Store, cluster: Cluster) -> list[Receipt]:
    """Connect the forests of all ranges, then list the losers of each file of trees; returns the lists' receipts."""
    key = stage_key(STAGE, VERSION, {"trees": True}, [forest.files[FOREST].sha256 for forest in forests])

    def connect_calls(missing: Mapping[str, Sequence[str]]) -> list[tuple[object, ...]]:
        return [(store, STAGE, each, keys) for each, keys in missing.items()]

    work = {key: [forest.key for forest in forests]}
    trees = run_missing(store, STAGE, work, connect_calls, connect, cluster, "fuzzy components")[key]
    parts = {
        stage_key(STAGE, VERSION, {"losers": part}, [group, trees.files[trees_file(part)].sha256]): part
        for part in range(int(trees.facts["files"]))
    }

    def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
        return [(store, each, key, part, group, agree) for each, part in missing.items()]

    receipts = run_missing(store, STAGE, parts, calls, find_losers, cluster, "fuzzy keepers")
    return [receipts[each] for each in parts]
