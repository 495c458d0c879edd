"""Copies of paragraphs: all but the first of each hash over a group's shards, range of hashes by range.

Shards stand in order of priority, so the first by (shard, row, place) is the first by (declared priority of its source,
source name, file, record, paragraph), under any split into shards. A task takes one range of hashes from every shard,
one slice of each file, and lists the copies; then a task per some shards gathers each one's copies from all ranges.
Memory: about 100 bytes for each of 4 million paragraphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Receipt, Store
from mixproof.pipeline.group import GroupShard, load_group
from mixproof.pipeline.sorted_rows import rows_between

from .paragraph_hashes import PARAGRAPHS, STAGE

COPIES = "copies.npy"
CUTS = "cuts.npy"
RANGE_PARAGRAPHS = 4_000_000

COPY_DTYPE = np.dtype([("shard", "<i4"), ("row", "<u4"), ("paragraph", "<u4"), ("keeper", "<i4")])
"""A paragraph that goes: its shard's place in the group, its row, its place, the shard that keeps it."""
CUT_DTYPE = np.dtype([("row", "<u4"), ("paragraph", "<u4"), ("keeper", "<u4")])
"""The same in one shard; the keeper is the place of its source's name in the fact `keepers`."""


def range_count(paragraphs: int) -> int:
    """Ranges of hashes, a power of two: enough that a task holds about 4 million paragraphs."""
    ranges = 1
    while ranges * RANGE_PARAGRAPHS < paragraphs:
        ranges *= 2
    return ranges


def find_copies(store_url: str, key: str, group: str, place: int, ranges: int) -> None:
    """Write the copies in one range of hashes over all shards of a group, by shard, row and place."""
    store = Store(store_url)
    width = 2**64 // ranges
    low, high = place * width, (place + 1) * width
    slices = [_slice(store, shard, low, high) for shard in load_group(store_url, STAGE, group)]
    owners = np.repeat(np.arange(len(slices)), [len(each) for each in slices])
    copies = copies_of(np.concatenate(slices), owners)
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(COPIES).open("wb") as file:
            np.save(file, copies, allow_pickle=False)
        attempt.commit(facts={"shards": np.unique(copies["shard"]).tolist()})


def _slice(store: Store, shard: GroupShard, low: int, high: int) -> NDArray[Any]:
    table = np.load(store.path(f"{shard.folder}/{PARAGRAPHS}"), mmap_mode="r")
    part: NDArray[Any] = np.array(table[rows_between(table["high"], low, high)])
    if shard.bitmap is not None:
        part = part[np.load(store.path(shard.bitmap), mmap_mode="r")[part["row"]]]
    return part


def copies_of(paragraphs: NDArray[Any], shards: NDArray[np.int64]) -> NDArray[Any]:
    """All but the first of the paragraphs with equal hash, COPY_DTYPE by shard, row and place.

    Args:
        paragraphs: PARAGRAPH_DTYPE [paragraphs]; where hashes are equal, by shard, row and place.
        shards: int64 [paragraphs], the place of each one's shard, rising.
    """
    order = np.lexsort((paragraphs["low"], paragraphs["high"]))  # stable
    ordered, owners = paragraphs[order], shards[order]
    same = np.zeros(len(ordered), dtype=np.bool_)
    same[1:] = (ordered["high"][1:] == ordered["high"][:-1]) & (ordered["low"][1:] == ordered["low"][:-1])
    keeper = np.maximum.accumulate(np.where(same, 0, np.arange(len(ordered))))[same]
    copies = np.empty(len(keeper), dtype=COPY_DTYPE)
    copies["shard"], copies["keeper"] = owners[same], owners[keeper]
    copies["row"], copies["paragraph"] = ordered["row"][same], ordered["paragraph"][same]
    return copies[np.lexsort((copies["paragraph"], copies["row"], copies["shard"]))]


def gather_cuts(store_url: str, group: str, calls: Sequence[tuple[str, int, Sequence[str]]]) -> list[Receipt]:
    """Write what goes of each of several shards: key, place of the shard, keys of the ranges with copies in it."""
    store = Store(store_url)
    sources = [shard.source for shard in load_group(store_url, STAGE, group)]
    receipts = []
    for key, place, ranges in calls:
        copies = np.concatenate([_copies_in(store, each, place) for each in ranges])
        copies = copies[np.lexsort((copies["paragraph"], copies["row"]))]
        named = [sources[shard] for shard in copies["keeper"]]
        keepers = sorted(set(named))
        cuts = np.empty(len(copies), dtype=CUT_DTYPE)
        cuts["row"], cuts["paragraph"] = copies["row"], copies["paragraph"]
        cuts["keeper"] = [keepers.index(name) for name in named]
        with store.attempt(STAGE, key) as attempt:
            with attempt.path(CUTS).open("wb") as file:
                np.save(file, cuts, allow_pickle=False)
            receipts.append(attempt.commit(facts={"keepers": keepers}))
    return receipts


def _copies_in(store: Store, key: str, place: int) -> NDArray[Any]:
    copies = np.load(store.path(f"{STAGE}/{key}/{COPIES}"), mmap_mode="r")
    mine: NDArray[Any] = np.array(copies[rows_between(copies["shard"], place, place + 1)])
    return mine
