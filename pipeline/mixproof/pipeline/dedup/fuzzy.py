"""Fuzzy deduplication of a group of sources: signatures, edges by ranges of band hashes, components, keepers, bitmaps.

It runs on what exact deduplication kept. Documents are counted over the group's shards, which stand in order of
priority: by (declared priority of its source, source name, file, record). The first of a component stays, and what is
like it goes; of what is left, the first stays, and so on (`keepers.py`). That order, and with it every decision, does
not depend on how files are split into shards, nor on the number of ranges or workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.receipts import find_receipts
from mixproof.ledger.sealed import seal_receipts
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.dedup_spec import FuzzyDedup
from mixproof.pipeline.bitmap import Bitmap, bitmap_of
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.group import GroupShard, save_group
from mixproof.pipeline.read.shards import Shard

from .components import connect, trees_file
from .edges import FOREST, STAGE, find_edges, range_count
from .keepers import LOSERS, find_losers
from .losses import write_bitmaps
from .minhash import Sketch
from .signatures import sign

VERSION = 2
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
        GroupShard(folder, first, None if bitmap is None else bitmap.path)
        for folder, first, bitmap in zip(folders, firsts, keep, strict=True)
    ]
    documents = sum(
        shard.documents if bitmap is None else bitmap.kept for shard, bitmap in zip(shards, keep, strict=True)
    )
    ranges = range_count(documents * sketch.bands)
    agree = equal_minima(rule.threshold, sketch.minima)
    config = {"ngram": rule.ngram, "bands": rule.bands, "rows": rule.rows, "agree": agree}
    identity = [[each.folder, each.bitmap, bitmap and bitmap.sha256] for each, bitmap in zip(signed, keep, strict=True)]
    group = stage_key(STAGE, VERSION, config, identity)
    save_group(store, STAGE, group, signed)
    keys = [stage_key(STAGE, VERSION, {"range": [place, ranges]}, [group]) for place in range(ranges)]
    known = find_receipts(store, STAGE, keys)
    missing = [place for place, key in enumerate(keys) if key not in known]
    cluster.count(run=len(missing), reused=ranges - len(missing))
    calls = [(str(store), keys[place], group, place, ranges, agree) for place in missing]
    cluster.run(find_edges, calls, label="fuzzy dedup")
    losers = _losers(keys, group, agree, store, cluster)
    return _bitmaps(shards, keep, losers, group, store, cluster)


def equal_minima(threshold: Fraction, minima: int) -> int:
    """Equal minima that make an edge: the smallest whole number that is `threshold` of all, and 1 at least."""
    return max(1, -(-threshold.numerator * minima // threshold.denominator))


def _losers(forests: Sequence[str], group: str, agree: int, store: Store, cluster: Cluster) -> list[Receipt]:
    """The receipts of the lists of losers, one for each file of trees that the ranges' forests grow together to."""
    key = stage_key(STAGE, VERSION, {"trees": True}, [_receipt(store, each).files[FOREST].sha256 for each in forests])
    known = store.receipt(STAGE, key) is not None
    cluster.count(run=int(not known), reused=int(known))
    if not known:
        cluster.run(connect, [(str(store), key, list(forests))], label="fuzzy components")
    trees = _receipt(store, key)
    keys = [
        stage_key(STAGE, VERSION, {"losers": part}, [group, trees.files[trees_file(part)].sha256])
        for part in range(int(trees.facts["files"]))
    ]
    missing = [part for part, each in enumerate(keys) if store.receipt(STAGE, each) is None]
    cluster.count(run=len(missing), reused=len(keys) - len(missing))
    calls = [(str(store), keys[part], key, part, group, agree) for part in missing]
    cluster.run(find_losers, calls, label="fuzzy keepers")
    return [_receipt(store, each) for each in keys]


def _bitmaps(
    shards: Sequence[Shard],
    keep: Sequence[Bitmap | None],
    losers: Sequence[Receipt],
    group: str,
    store: Store,
    cluster: Cluster,
) -> tuple[list[Bitmap | None], list[Lost]]:
    lists: dict[int, list[Receipt]] = {}
    for receipt in losers:
        for place in receipt.facts["shards"]:
            lists.setdefault(int(place), []).append(receipt)
    keys = {
        place: stage_key(STAGE, VERSION, {"shard": place}, [group, *(each.files[LOSERS].sha256 for each in found)])
        for place, found in sorted(lists.items())
    }
    known = find_receipts(store, STAGE, keys.values())
    missing = [place for place, key in keys.items() if key not in known]
    cluster.count(run=len(missing), reused=len(keys) - len(missing))
    calls = []
    for first in range(0, len(missing), SHARDS_PER_TASK):
        batch = missing[first : first + SHARDS_PER_TASK]
        found = sorted({each.key for place in batch for each in lists[place]})
        befores = [bitmap and bitmap.path for bitmap in (keep[place] for place in batch)]
        todo = [
            (keys[place], place, shards[place].folder, before, shards[place].documents)
            for place, before in zip(batch, befores, strict=True)
        ]
        calls.append((str(store), group, found, todo))
    cluster.run(write_bitmaps, calls, label="fuzzy dedup bitmaps")
    made = known | find_receipts(store, STAGE, [keys[place] for place in missing])
    seal_receipts(store, STAGE, made.beside)
    receipts = {place: made[key] for place, key in keys.items()}
    bitmaps = [
        bitmap_of(receipts[place], int(receipts[place].facts["kept"])) if place in receipts else bitmap
        for place, bitmap in enumerate(keep)
    ]
    lost = [Lost(place, *row) for place in sorted(lists) for row in receipts[place].facts["lost"]]
    return bitmaps, lost


def _receipt(store: Store, key: str) -> Receipt:
    receipt = store.receipt(STAGE, key)
    assert receipt is not None, f"{key} was made and has no receipt"
    return receipt
