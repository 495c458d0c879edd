"""The losers of a group applied to its shards: a bitmap each, and what the shard lost to each other shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.pipeline.bitmap import BITMAP, Bitmap, bitmap_of, save_bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.group import Documents, load_group, shards_of
from mixproof.pipeline.read.batches import SHARDS_PER_TASK, in_batches
from mixproof.pipeline.read.shards import HASHES, Shard
from mixproof.pipeline.sorted_rows import rows_between

from .keepers import LOSERS
from .lost_documents import GroupResult, LossSums


@dataclass(frozen=True)
class Search:
    """A search over a group whose tasks listed the losers."""

    stage: str
    version: int
    group: str
    """Key of the list of shards."""
    label: str
    """Names the tasks in progress."""


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
        losers: receipts of the lists of losers; the fact `shards` has the shards that each names.
        store: where the bitmaps go.
        cluster: runs the tasks.
    """
    lists: dict[int, list[Receipt]] = {}
    for receipt in losers:
        for index in receipt.facts["shards"]:
            lists.setdefault(int(index), []).append(receipt)
    work: dict[str, BitmapWork] = {}
    for index, found in sorted(lists.items()):
        identity = [search.group, *(each.files[LOSERS].sha256 for each in found)]
        key = stage_key(search.stage, search.version, {"shard": index}, identity)
        shard, before = shards[index], keep[index]
        path = None if before is None else before.path
        work[key] = BitmapWork(index, shard.folder, path, shard.documents, [each.key for each in found])

    def calls(missing: Mapping[str, BitmapWork]) -> list[tuple[object, ...]]:
        return [(store, search, batch) for batch in in_batches(missing.items(), SHARDS_PER_TASK)]

    receipts = run_missing(store, search.stage, work, calls, write_bitmaps, cluster, search.label)
    bitmaps, losses = list(keep), LossSums(shards)
    for key, each in work.items():
        receipt = receipts[key]
        bitmaps[each.shard] = bitmap_of(receipt, int(receipt.facts["kept"]))
        for row in receipt.facts["lost"]:
            losses.add(each.shard, *row)
    path_of = {receipt.key: f"{search.stage}/{receipt.key}/{LOSERS}" for receipt in losers}
    paths = {index: tuple(path_of[each.key] for each in found) for index, found in lists.items()}
    return GroupResult(bitmaps, losses.losses(), paths)


def write_bitmaps(store: Store, search: Search, work: Sequence[tuple[str, BitmapWork]]) -> None:
    """Write the bitmaps of several shards, each under its key, with what each lost.

    A list of losers is opened once for all of them.
    """
    firsts = [shard.first for shard in load_group(store, search.stage, search.group)]
    low = min(firsts[shard.shard] for _, shard in work)
    high = max(firsts[shard.shard] + shard.documents for _, shard in work)
    lists = {}
    for each in dict.fromkeys(each for _, shard in work for each in shard.losers):
        lists[each] = _between(np.load(store.path(f"{search.stage}/{each}/{LOSERS}"), mmap_mode="r"), low, high)
    for key, shard in work:
        first = firsts[shard.shard]
        losers = np.concatenate([_between(lists[each], first, first + shard.documents) for each in shard.losers])
        rows = losers[:, 0] - first
        keep = np.ones(shard.documents, dtype=np.bool_) if shard.before is None else np.load(store.path(shard.before))
        keep[rows] = False
        lost = sums(shards_of(losers[:, 1], firsts), text_bytes(store, shard.folder)[rows])
        with store.attempt(search.stage, key) as attempt:
            save_bitmap(attempt.path(BITMAP), keep)
            attempt.commit(facts={"kept": int(keep.sum()), "lost": lost})


def sums(keepers: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[list[int]]:
    """Return rows [keeper's shard, documents, bytes], ascending.

    Args:
        keepers: int64 [losers], the shard of each loser's keeper.
        sizes: int64 [losers], UTF-8 bytes of each loser.
    """
    numbers, inverse = np.unique(keepers, return_inverse=True)
    lost = np.zeros(len(numbers), dtype=np.int64)
    np.add.at(lost, inverse, sizes)
    documents = np.bincount(inverse, minlength=len(numbers))
    return [[int(one), int(n), int(size)] for one, n, size in zip(numbers, documents, lost, strict=True)]


def _between(losers: Documents, low: int, high: int) -> Documents:
    return np.array(losers[rows_between(losers[:, 0], low, high)])


def text_bytes(store: Store, folder: str) -> NDArray[np.int64]:
    """Return the UTF-8 bytes of a shard's documents, in the order of rows."""
    hashes = np.load(store.path(f"{folder}/{HASHES}"))
    sizes = np.zeros(len(hashes), dtype=np.int64)
    sizes[hashes["row"]] = hashes["bytes"]
    return sizes
