"""Deduplication: one keeper for each text, whatever the split into shards or the number of workers.

Exact first, here; then fuzzy, on what is left (`fuzzy.py`). One row of the ledger and one matrix count both.
Two documents are exact copies when the xxh3_128 and the length of their texts are equal. The keeper is the first by
(declared priority of its source, source name, file, record). Reading left the hashes of each shard in a
sorted file, so a range of hashes is one slice of every shard: a task takes one range from all shards, sorts its
32 bytes a document and lists the losers; then a task per shard turns its losers into a bitmap. Memory is bounded
by the documents in a range, about 4 million.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.manifest import MatrixRow
from mixproof.ledger.receipts import find_receipts
from mixproof.ledger.sealed import seal_receipts
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.dedup_spec import Dedup
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.bitmap import BITMAP, Bitmap, bitmap_of, save_bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.read.by_hash import documents_between
from mixproof.pipeline.read.documents import SourceDocuments
from mixproof.pipeline.read.shards import Shard
from mixproof.pipeline.sorted_rows import rows_between

from .fuzzy import deduplicate_fuzzily

STAGE = "dedup"
VERSION = 1
EXACT, FUZZY = "exact_duplicate", "fuzzy_duplicate"
LOSERS = "losers.npy"
RANGE_DOCUMENTS = 4_000_000
SHARDS_PER_TASK = 64

LOSER_DTYPE = np.dtype([("shard", "<i4"), ("winner", "<i4"), ("bytes", "<i8"), ("row", "<i8")])
"""A document that goes: its shard's place in the group, its keeper's, its UTF-8 bytes, its row."""

Losses = dict[tuple[str, str], Count]
"""What went, by (source, source of the keeper)."""


@dataclass(frozen=True)
class Deduplicated:
    """What deduplication kept, per source and shard."""

    keep: dict[str, tuple[Bitmap | None, ...]]
    """Aligned with each source's shards; None keeps all rows."""
    rows: dict[str, StageRow]
    """The ledger's row `dedup` per source; empty when deduplication is off."""
    matrix: tuple[MatrixRow, ...]
    """What each source lost to each, itself included; sorted, without zero rows."""


def deduplicate(spec: Spec, sources: Mapping[str, SourceDocuments], store: Store, cluster: Cluster) -> Deduplicated:
    """Decide which documents stay.

    A source that is in none of the named groups of `scope` is deduplicated alone.

    Raises:
        RequestError: when `scope` or `keep` names a source that is not there, or a source twice.
    """
    if spec.dedup is None or not (spec.dedup.exact or spec.dedup.fuzzy):
        return Deduplicated({name: (None,) * len(source.shards) for name, source in sources.items()}, {}, ())
    keep: dict[str, tuple[Bitmap | None, ...]] = {}
    lost: dict[str, Losses] = {EXACT: {}, FUZZY: {}}
    for group in dedup_groups(spec.dedup, list(sources)):
        shards = [shard for name in group for shard in sources[name].shards]
        bitmaps: list[Bitmap | None] = [None] * len(shards)
        if spec.dedup.exact:
            bitmaps = _deduplicate_group(shards, store, cluster, lost[EXACT])
        if spec.dedup.fuzzy is not None:
            bitmaps, gone = deduplicate_fuzzily(shards, bitmaps, spec.dedup.fuzzy, store, cluster)
            for part in gone:
                pair = shards[part.loser].source, shards[part.keeper].source
                _add(lost[FUZZY], pair, Count(documents=part.documents, bytes=part.bytes))
        for name in group:
            keep[name] = tuple(bitmap for shard, bitmap in zip(shards, bitmaps, strict=True) if shard.source == name)
    rows = {name: _row(source, keep[name], lost) for name, source in sources.items()}
    both: Losses = {}
    for losses in lost.values():
        for pair, count in losses.items():
            _add(both, pair, count)
    matrix = [
        MatrixRow(source=source, lost_to=winner, documents=count.documents, bytes=count.bytes)
        for (source, winner), count in sorted(both.items())
    ]
    return Deduplicated({name: keep[name] for name in sources}, rows, tuple(matrix))


def dedup_groups(dedup: Dedup, sources: Sequence[str]) -> list[list[str]]:
    """Sources that are deduplicated against each other, each group in its order of priority.

    Raises:
        RequestError: when `scope` or `keep` names a source that is not there, or a source twice.
    """
    _check_names("dedup.keep", dedup.keep, sources)
    order = {name: place for place, name in enumerate(dedup.keep)}
    ranked = sorted(sources, key=lambda name: (order.get(name, len(order)), name))
    if dedup.scope == "all":
        return [ranked]
    if dedup.scope == "source":
        return [[name] for name in ranked]
    named = [name for members in dedup.scope.values() for name in members]
    _check_names("dedup.scope", named, sources)
    groups = [[name for name in ranked if name in members] for members in dedup.scope.values() if members]
    return groups + [[name] for name in ranked if name not in named]


def _check_names(where: str, names: Sequence[str], sources: Sequence[str]) -> None:
    for place, name in enumerate(names):
        if name not in sources:
            raise RequestError(f"{where}: there is no source {name!r}; there are {', '.join(sources)}")
        if name in names[:place]:
            raise RequestError(f"{where}: the source {name!r} is named twice")


def _add(losses: Losses, pair: tuple[str, str], count: Count) -> None:
    losses[pair] = losses.get(pair, Count(documents=0, bytes=0)) + count


def _row(source: SourceDocuments, keep: Sequence[Bitmap | None], lost: Mapping[str, Losses]) -> StageRow:
    none = Count(documents=0, bytes=0)
    gone = {
        reason: sum((count for (name, _), count in losses.items() if name == source.name), none)
        for reason, losses in lost.items()
    }
    before = source.ledger[-1]
    kept = sum(
        shard.documents if bitmap is None else bitmap.kept for shard, bitmap in zip(source.shards, keep, strict=True)
    )
    return StageRow(
        stage="dedup",
        documents_in=before.documents_out,
        documents_out=kept,
        bytes_in=before.bytes_out,
        bytes_out=before.bytes_out - sum(count.bytes for count in gone.values()),
        dropped={reason: count for reason, count in gone.items() if count.documents},
    ).check(source=source.name)


def _deduplicate_group(shards: Sequence[Shard], store: Store, cluster: Cluster, lost: Losses) -> list[Bitmap | None]:
    """Bitmaps of a group's shards, which stand in order of priority; adds to `lost` by (source, keeper)."""
    folders = [shard.folder for shard in shards]
    identity = [shard.documents_sha256 for shard in shards]
    ranges = range_count(sum(shard.documents for shard in shards))
    keys = [stage_key(STAGE, VERSION, {"range": [place, ranges]}, identity) for place in range(ranges)]
    known = find_receipts(store, STAGE, keys)
    missing = [place for place, key in enumerate(keys) if key not in known]
    cluster.count(run=len(missing), reused=ranges - len(missing))
    cluster.run(find_losers, [(str(store), keys[place], folders, place, ranges) for place in missing], label="dedup")
    made = known | find_receipts(store, STAGE, [keys[place] for place in missing])
    losing: dict[int, list[str]] = {}
    for key in keys:
        receipt = made[key]
        for loser, winner, documents, size in receipt.facts["lost"]:
            losing.setdefault(loser, []).append(key)
            pair = shards[loser].source, shards[winner].source
            _add(lost, pair, Count(documents=documents, bytes=size))
    digests = {key: made[key].files[LOSERS].sha256 for key in keys}
    return _bitmaps(shards, losing, digests, store, cluster)


def range_count(documents: int) -> int:
    """Ranges of hashes, a power of two: enough that a task holds about 4 million documents."""
    ranges = 1
    while ranges * RANGE_DOCUMENTS < documents:
        ranges *= 2
    return ranges


def find_losers(store_url: str, key: str, folders: Sequence[str], place: int, ranges: int) -> None:
    """Write the losers in one range of hashes over all shards, sorted by shard and row."""
    store = Store(store_url)
    width = 2**64 // ranges
    low, high = place * width, (place + 1) * width
    parts = [documents_between(store, folder, shard, low, high) for shard, folder in enumerate(folders)]
    losers = losers_of(np.concatenate(parts))
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(LOSERS).open("wb") as file:
            np.save(file, losers, allow_pickle=False)
        attempt.commit(facts={"lost": _sums(losers)})


def losers_of(records: NDArray[Any]) -> NDArray[Any]:
    """All but the first (by shard, row) of the records with equal hash and length."""
    ordered = records[np.lexsort((records["row"], records["shard"], records["bytes"], records["low"], records["high"]))]
    same = np.zeros(len(ordered), dtype=np.bool_)
    same[1:] = (
        (ordered["high"][1:] == ordered["high"][:-1])
        & (ordered["low"][1:] == ordered["low"][:-1])
        & (ordered["bytes"][1:] == ordered["bytes"][:-1])
    )
    keeper = np.maximum.accumulate(np.where(same, 0, np.arange(len(ordered))))
    losers = np.empty(int(same.sum()), dtype=LOSER_DTYPE)
    for name in ("shard", "bytes", "row"):
        losers[name] = ordered[name][same]
    losers["winner"] = ordered["shard"][keeper[same]]
    return losers[np.lexsort((losers["row"], losers["shard"]))]


def _sums(losers: NDArray[Any]) -> list[list[int]]:
    """Rows [shard, keeper's shard, documents, bytes], sorted."""
    pairs, inverse = np.unique(losers[["shard", "winner"]], return_inverse=True)
    documents = np.bincount(inverse, minlength=len(pairs))
    sizes = np.zeros(len(pairs), dtype=np.int64)
    np.add.at(sizes, inverse, losers["bytes"])
    return [
        [int(pair["shard"]), int(pair["winner"]), int(count), int(size)]
        for pair, count, size in zip(pairs, documents, sizes, strict=True)
    ]


def _bitmaps(
    shards: Sequence[Shard],
    losing: Mapping[int, Sequence[str]],
    digests: Mapping[str, str],
    store: Store,
    cluster: Cluster,
) -> list[Bitmap | None]:
    """Bitmaps of the shards that lose documents; `digests`: SHA-256 of the losers by key of their range."""
    calls: dict[int, tuple[str, int, int, list[str]]] = {}
    for place, keys in losing.items():
        ranges = sorted(set(keys))
        identity = [shards[place].documents_sha256, [digests[key] for key in ranges]]
        key = stage_key(STAGE, VERSION, {"shard": place}, identity)
        calls[place] = (key, place, shards[place].documents, ranges)
    known = find_receipts(store, STAGE, [call[0] for call in calls.values()])
    todo = [call for call in calls.values() if call[0] not in known]
    cluster.count(run=len(todo), reused=len(calls) - len(todo))
    batches = [todo[first : first + SHARDS_PER_TASK] for first in range(0, len(todo), SHARDS_PER_TASK)]
    done = cluster.run(write_bitmaps, [(str(store), batch) for batch in batches], label="dedup bitmaps")
    receipts = known | {receipt.key: receipt for written in done for receipt in written}
    seal_receipts(store, STAGE, receipts.beside)
    bitmaps: list[Bitmap | None] = [None] * len(shards)
    for place, (key, *_) in calls.items():
        receipt = receipts[key]
        bitmaps[place] = bitmap_of(receipt, int(receipt.facts["kept"]))
    return bitmaps


def write_bitmaps(store_url: str, calls: Sequence[tuple[str, int, int, list[str]]]) -> list[Receipt]:
    """Write the bitmaps of several shards; a call is (key, shard's place, its documents, keys of ranges)."""
    store = Store(store_url)
    receipts = []
    for key, place, documents, ranges in calls:
        keep = np.ones(documents, dtype=np.bool_)
        for range_key in ranges:
            losers = np.load(store.path(f"{STAGE}/{range_key}/{LOSERS}"), mmap_mode="r")
            keep[losers["row"][rows_between(losers["shard"], place, place + 1)]] = False
        with store.attempt(STAGE, key) as attempt:
            save_bitmap(attempt.path(BITMAP), keep)
            receipts.append(attempt.commit(facts={"kept": int(keep.sum())}))
    return receipts
