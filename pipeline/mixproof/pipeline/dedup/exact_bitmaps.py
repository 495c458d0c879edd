"""The losers of exact deduplication applied to the shards: a bitmap each, and what each shard lost.

In large groups this is done block by block (`loser_blocks.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Store
from mixproof.ledger.store.receipts import Receipts
from mixproof.pipeline.bitmap import BITMAP, Bitmap, bitmap_of, save_bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.read.batches import SHARDS_PER_TASK, in_batches
from mixproof.pipeline.read.shards import Shard
from mixproof.pipeline.shuffle.plan import is_direct
from mixproof.pipeline.sorted_rows import rows_between

from .keepers import LOSERS
from .loser_blocks import (
    BlockBitmap,
    BlockShard,
    Search,
    apply_blocks,
    bitmaps_once,
    load_lists,
    parts_of_lists,
    save_block,
)
from .lost_documents import GroupResult, LossSums, sums_by_keeper

BitmapWork = tuple[int, int, list[str]]
"""A bitmap to write: index of the shard in its group, number of its documents, keys of ranges with its losers."""


def apply_ranges(
    search: Search, shards: Sequence[Shard], receipts: Receipts, ranges: Sequence[str], store: Store, cluster: Cluster
) -> GroupResult:
    """Write the bitmaps of the shards that lose documents.

    Args:
        search: that listed the losers.
        shards: of the group, in order of priority.
        receipts: of the lists of losers; with few shards and ranges the fact `lost` states what each shard lost.
        ranges: the keys of the lists, in order.
        store: where the bitmaps go.
        cluster: runs the tasks.
    """
    if not is_direct(len(shards), len(ranges)):
        digests = {key: receipts[key].files[LOSERS].sha256 for key in sorted(ranges)}
        return apply_blocks(search, shards, [None] * len(shards), digests, write_block, store, cluster)
    sums, paths = LossSums(shards), {key: f"{search.stage}/{key}/{LOSERS}" for key in ranges}
    ranges_of: dict[int, list[str]] = {}
    for key in ranges:
        for loser, *lost in receipts[key].facts["lost"]:
            sums.add(loser, *lost)
            in_ranges = ranges_of.setdefault(loser, [])
            if in_ranges[-1:] != [key]:
                in_ranges.append(key)
    losers = {index: tuple(paths[key] for key in keys) for index, keys in ranges_of.items()}
    return GroupResult(_bitmaps(search, shards, ranges_of, receipts, store, cluster), sums.losses(), losers)


def _bitmaps(
    search: Search,
    shards: Sequence[Shard],
    ranges_of: Mapping[int, Sequence[str]],
    receipts: Receipts,
    store: Store,
    cluster: Cluster,
) -> list[Bitmap | None]:
    """Write a bitmap for each shard that loses documents; `ranges_of`: keys of the ranges in which it does."""
    digests = {key: receipts[key].files[LOSERS].sha256 for keys in ranges_of.values() for key in keys}
    work: dict[str, BitmapWork] = {}
    for index, keys in ranges_of.items():
        ranges = sorted(keys)
        key = _key(search, index, shards[index], [digests[each] for each in ranges])
        work[key] = (index, shards[index].documents, ranges)

    def calls(missing: Mapping[str, BitmapWork]) -> list[tuple[object, ...]]:
        return [(store, search.stage, batch) for batch in in_batches(missing.items(), SHARDS_PER_TASK)]

    written = run_missing(store, search.stage, work, calls, write_bitmaps, cluster, search.label)
    bitmaps: list[Bitmap | None] = [None] * len(shards)
    for key, (index, *_) in work.items():
        receipt = written[key]
        bitmaps[index] = bitmap_of(receipt, int(receipt.facts["kept"]))
    return bitmaps


def _key(search: Search, index: int, shard: Shard, digests: Sequence[str]) -> str:
    """The key of a shard's bitmap; `digests`: of the lists that name documents of it, in the order of their keys."""
    return stage_key(search.stage, search.version, {"shard": index}, [shard.documents_sha256, list(digests)])


def write_bitmaps(store: Store, stage: str, work: Sequence[tuple[str, BitmapWork]]) -> None:
    """Write the bitmaps of several shards, each under its key; a list of losers is opened once for all of them."""
    indices = [index for _, (index, *_) in work]
    lists = {}
    for range_key in dict.fromkeys(each for _, (*_, ranges) in work for each in ranges):
        losers = load_array(store.path(f"{stage}/{range_key}/{LOSERS}"), mmap_mode="r")
        lists[range_key] = np.array(losers[rows_between(losers["shard"], min(indices), max(indices) + 1)])
    for key, (index, documents, ranges) in work:
        keep = np.ones(documents, dtype=np.bool_)
        for range_key in ranges:
            losers = lists[range_key]
            keep[losers["row"][rows_between(losers["shard"], index, index + 1)]] = False
        with store.attempt(stage, key) as attempt:
            save_bitmap(attempt.path(BITMAP), keep)
            attempt.commit(facts={"kept": int(keep.sum())})


def write_block(store: Store, key: str, search: Search, lists: str, block: Sequence[BlockShard]) -> None:
    """Write the bitmaps of a block of shards, for `apply_blocks`; the lists are in the order of their keys."""
    saved, low, high = load_lists(store, search.stage, lists), block[0][0], block[-1][0] + 1
    numbers, arrays = parts_of_lists(store, search, saved, lambda losers: rows_between(losers["shard"], low, high))
    order = np.lexsort((arrays[LOSERS]["row"], arrays[LOSERS]["shard"]))
    numbers, losers = numbers[order], arrays[LOSERS][order]
    bitmaps, found = {}, []
    for index, shard, _ in block:
        part = rows_between(losers["shard"], index, index + 1)
        if part.start < part.stop:
            lost = sums_by_keeper(saved.source_of(losers["keeper"][part]), losers["bytes"][part])
            digests = [saved.digests[number] for number in np.unique(numbers[part]).tolist()]
            own = _key(search, index, shard, digests)
            bitmaps[own] = BlockBitmap(partial(_without, shard.documents, losers["row"][part]), {})
            found.append((index, own, lost))
    written = bitmaps_once(store, search.stage, bitmaps)
    with store.attempt(search.stage, key) as attempt:
        save_block(attempt, arrays, order)
        attempt.commit(facts={"shards": [[index, own, *written[own], lost] for index, own, lost in found]})


def _without(documents: int, rows: NDArray[Any]) -> NDArray[np.bool_]:
    keep = np.ones(documents, dtype=np.bool_)
    keep[rows] = False
    return keep
