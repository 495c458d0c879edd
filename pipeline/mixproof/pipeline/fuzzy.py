"""Fuzzy deduplication of a group of sources: signatures, edges by ranges of band hashes, components, bitmaps.

It runs on what exact deduplication kept. Documents are counted over the group's shards, which stand in order of
priority, so the smallest of a component is its keeper: the first by (declared priority of its source, source name,
file, record). That order, and with it every edge, does not depend on how files are split into shards, nor on the
number of ranges or workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.spec import FuzzyDedup

from .bitmap import Bitmap, bitmap_of
from .cluster import Cluster
from .components import LOSERS, find_losers, write_bitmaps
from .documents import Shard
from .edges import FOREST, STAGE, SignedShard, find_edges, range_count
from .minhash import Sketch
from .signatures import sign

VERSION = 1
SHARDS_PER_TASK = 64


@dataclass(frozen=True)
class Lost:
    """What a shard lost to a shard."""

    loser: int
    """Place of the shard in its group."""
    keeper: int
    documents: int
    bytes: int


def deduplicate_fuzzily(
    shards: Sequence[Shard], keep: Sequence[Bitmap | None], rule: FuzzyDedup, store: Store, cluster: Cluster
) -> tuple[list[Bitmap | None], list[Lost]]:
    """Bitmaps of a group's shards, which stand in order of priority, and what each lost to each."""
    sketch = Sketch(rule.ngram, rule.bands, rule.rows)
    folders = sign(shards, sketch, store, cluster)
    firsts = list(accumulate((shard.documents for shard in shards), initial=0))[:-1]
    signed = [
        SignedShard(folder, first, None if bitmap is None else bitmap.path)
        for folder, first, bitmap in zip(folders, firsts, keep, strict=True)
    ]
    documents = sum(
        shard.documents if bitmap is None else bitmap.kept for shard, bitmap in zip(shards, keep, strict=True)
    )
    ranges = range_count(documents * sketch.bands)
    agree = equal_minima(rule.threshold, sketch.minima)
    config = {"ngram": rule.ngram, "bands": rule.bands, "rows": rule.rows, "agree": agree}
    identity = [[shard.documents_sha256, bitmap and bitmap.sha256] for shard, bitmap in zip(shards, keep, strict=True)]
    keys = [stage_key(STAGE, VERSION, {**config, "range": [place, ranges]}, identity) for place in range(ranges)]
    missing = [place for place, key in enumerate(keys) if store.receipt(STAGE, key) is None]
    cluster.count(run=len(missing), reused=ranges - len(missing))
    calls = [(str(store), keys[place], signed, place, ranges, agree) for place in missing]
    cluster.run(find_edges, calls, label="fuzzy dedup")
    losers = _losers(keys, identity, firsts, store, cluster)
    return _bitmaps(shards, keep, losers, store, cluster)


def equal_minima(threshold: Fraction, minima: int) -> int:
    """Equal minima that make an edge: the smallest whole number that is `threshold` of all, and 1 at least."""
    return max(1, -(-threshold.numerator * minima // threshold.denominator))


def _losers(
    keys: Sequence[str], identity: Sequence[object], firsts: Sequence[int], store: Store, cluster: Cluster
) -> Receipt:
    """The receipt of the list of losers, made from the forests of all ranges."""
    forests = [_receipt(store, key).files[FOREST].sha256 for key in keys]
    key = stage_key(STAGE, VERSION, {"losers": True}, [identity, forests])
    known = store.receipt(STAGE, key)
    cluster.count(run=int(known is None), reused=int(known is not None))
    if known is None:
        cluster.run(find_losers, [(str(store), key, list(keys), list(firsts))], label="fuzzy components")
    return _receipt(store, key)


def _bitmaps(
    shards: Sequence[Shard], keep: Sequence[Bitmap | None], losers: Receipt, store: Store, cluster: Cluster
) -> tuple[list[Bitmap | None], list[Lost]]:
    losing = [int(place) for place in losers.facts["shards"]]
    calls = {}
    receipts: dict[int, Receipt] = {}
    for place in losing:
        shard, before = shards[place], keep[place]
        inputs = [shard.documents_sha256, before and before.sha256, losers.files[LOSERS].sha256]
        key = stage_key(STAGE, VERSION, {"shard": place}, inputs)
        known = store.receipt(STAGE, key)
        if known is None:
            calls[place] = (key, place, shard.folder, before and before.path, shard.documents)
        else:
            receipts[place] = known
    cluster.count(run=len(calls), reused=len(receipts))
    todo = list(calls.items())
    batches = [todo[first : first + SHARDS_PER_TASK] for first in range(0, len(todo), SHARDS_PER_TASK)]
    done = cluster.run(
        write_bitmaps,
        [(str(store), losers.key, [call for _, call in batch]) for batch in batches],
        label="fuzzy dedup bitmaps",
    )
    for batch, written in zip(batches, done, strict=True):
        receipts.update((place, receipt) for (place, _), receipt in zip(batch, written, strict=True))
    bitmaps = [
        bitmap_of(receipts[place], int(receipts[place].facts["kept"])) if place in receipts else bitmap
        for place, bitmap in enumerate(keep)
    ]
    lost = [Lost(place, *row) for place in losing for row in receipts[place].facts["lost"]]
    return bitmaps, lost


def _receipt(store: Store, key: str) -> Receipt:
    receipt = store.receipt(STAGE, key)
    assert receipt is not None, f"{key} was made and has no receipt"
    return receipt
