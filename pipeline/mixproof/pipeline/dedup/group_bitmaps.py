"""The losers of a group applied to its shards: a bitmap each, and what the shard lost to each other shard.

In large groups this is done block by block (`loser_blocks.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.ledger.store.batch import open_batch
from mixproof.pipeline.bitmap import BITMAP, Bitmap, bitmap_of, save_bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.group import Documents, load_group, shards_of
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.read.batches import SHARDS_PER_TASK, in_batches
from mixproof.pipeline.read.shards import HASHES, Shard
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


@dataclass(frozen=True)
class BitmapWork:
    """The bitmap of one shard, to be written."""

    shard: int
    """Index of the shard in its group."""
    folder: str
    """Folder of its documents."""
    before: str | None
    """Path of the bitmap before the search; None: all rows."""
    documents: int
    losers: list[str]
    """Keys of the lists of losers that name documents of the shard."""


def apply_losers(
    search: Search,
    shards: Sequence[Shard],
    keep: Sequence[Bitmap | None],
    losers: Sequence[Receipt],
    store: Store,
    cluster: Cluster,
) -> GroupResult:
    """Write the bitmaps of the shards that lose documents.

    Args:
        search: that listed the losers.
        shards: of the group, in order of priority.
        keep: the bitmap of each before the search.
        losers: receipts of the lists of losers; with few lists the fact `shards` has the shards that each names.
        store: where the bitmaps go.
        cluster: runs the tasks.
    """
    digests = {each.key: each.files[LOSERS].sha256 for each in losers}
    if not is_direct(len(shards), len(losers)):
        return apply_blocks(search, shards, keep, digests, write_block, store, cluster)
    lists: dict[int, list[str]] = {}
    for receipt in losers:
        for index in receipt.facts["shards"]:
            lists.setdefault(int(index), []).append(receipt.key)
    work = {
        _key(search, index, [digests[each] for each in found]): _work(index, shards[index], keep[index], found)
        for index, found in sorted(lists.items())
    }

    def calls(missing: Mapping[str, BitmapWork]) -> list[tuple[object, ...]]:
        return [(store, search, batch) for batch in in_batches(missing.items(), SHARDS_PER_TASK)]

    receipts = run_missing(store, search.stage, work, calls, write_bitmaps, cluster, search.label)
    bitmaps, losses = list(keep), LossSums(shards)
    for key, each in work.items():
        receipt = receipts[key]
        bitmaps[each.shard] = bitmap_of(receipt, int(receipt.facts["kept"]))
        for row in receipt.facts["lost"]:
            losses.add(each.shard, *row)
    paths = {index: tuple(f"{search.stage}/{each}/{LOSERS}" for each in found) for index, found in lists.items()}
    return GroupResult(bitmaps, losses.losses(), paths)


def _work(index: int, shard: Shard, before: Bitmap | None, lists: list[str]) -> BitmapWork:
    path = None if before is None else before.path
    return BitmapWork(index, shard.folder, path, shard.documents, lists)


def _key(search: Search, shard: int, digests: Sequence[str]) -> str:
    """The key of the bitmap of a shard; `digests`: of the lists that name documents of it, in order."""
    return stage_key(search.stage, search.version, {"shard": shard}, [search.group, *digests])


def write_bitmaps(store: Store, search: Search, work: Sequence[tuple[str, BitmapWork]]) -> None:
    """Write the bitmaps of several shards, each under its key, with what each lost.

    A list of losers is opened once for all of them.
    """
    firsts = [shard.first for shard in load_group(store, search.stage, search.group)]
    low = min(firsts[shard.shard] for _, shard in work)
    high = max(firsts[shard.shard] + shard.documents for _, shard in work)
    lists = {}
    for each in dict.fromkeys(each for _, shard in work for each in shard.losers):
        lists[each] = _between(load_array(store.path(f"{search.stage}/{each}/{LOSERS}"), mmap_mode="r"), low, high)
    with open_batch(store, search.stage, [key for key, _ in work]) as outputs:
        for key, shard in work:
            first = firsts[shard.shard]
            losers = np.concatenate([_between(lists[each], first, first + shard.documents) for each in shard.losers])
            rows = losers[:, 0] - first
            keep = _without(store, shard.before, shard.documents, rows)
            lost = sums_by_keeper(shards_of(losers[:, 1], firsts), text_bytes(store, shard.folder)[rows])
            with outputs.attempt(search.stage, key) as attempt:
                save_bitmap(attempt.path(BITMAP), keep)
                attempt.commit(facts={"kept": int(keep.sum()), "lost": lost})


def write_block(store: Store, key: str, search: Search, lists: str, block: Sequence[BlockShard]) -> None:
    """Write the bitmaps of a block of shards, for `apply_blocks`."""
    saved = load_lists(store, search.stage, lists)
    firsts = [each.first for each in load_group(store, search.stage, search.group)]
    low, high = firsts[block[0][0]], firsts[block[-1][0]] + block[-1][1].documents
    numbers, arrays = parts_of_lists(store, search, saved, lambda losers: rows_between(losers[:, 0], low, high))
    order = np.argsort(arrays[LOSERS][:, 0], kind="stable")
    numbers, losers = numbers[order], arrays[LOSERS][order]
    bitmaps, found = {}, []
    for index, shard, before in block:
        part = rows_between(losers[:, 0], firsts[index], firsts[index] + shard.documents)
        if part.start == part.stop:
            continue
        rows = losers[part, 0] - firsts[index]
        keepers = saved.source_of(shards_of(losers[part, 1], firsts))
        lost = sums_by_keeper(keepers, text_bytes(store, shard.folder)[rows])
        own = _key(search, index, [saved.digests[number] for number in np.unique(numbers[part]).tolist()])
        keep = partial(_without, store, None if before is None else before.path, shard.documents, rows)
        bitmaps[own] = BlockBitmap(keep, {"lost": lost})
        found.append((index, own, lost))
    written = bitmaps_once(store, search.stage, bitmaps)
    with store.attempt(search.stage, key) as attempt:
        save_block(attempt, arrays, order)
        attempt.commit(facts={"shards": [[index, own, *written[own], lost] for index, own, lost in found]})


def _without(store: Store, before: str | None, documents: int, rows: Documents) -> NDArray[np.bool_]:
    keep = np.ones(documents, dtype=np.bool_) if before is None else load_array(store.path(before))
    keep[rows] = False
    return keep


def _between(losers: Documents, low: int, high: int) -> Documents:
    return np.array(losers[rows_between(losers[:, 0], low, high)])


def text_bytes(store: Store, folder: str) -> NDArray[np.int64]:
    """Return the UTF-8 bytes of a shard's documents, in the order of rows."""
    hashes = load_array(store.path(f"{folder}/{HASHES}"))
    sizes = np.zeros(len(hashes), dtype=np.int64)
    sizes[hashes["row"]] = hashes["bytes"]
    return sizes
