"""Keys of anchors that occur more than once in a group of shards, found by ranges of keys, then gathered by shard.

A task takes one range of keys from every shard, a slice of each file, and lists the repeated keys of each shard; then
tasks over shards gather their keys from all ranges. Memory: about 60 bytes for each of 4 million anchors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.group import GroupShard, load_group
from mixproof.pipeline.sorted_rows import rows_between

from .anchor_tables import ANCHORS, STAGE

RANGE_ANCHORS = 4_000_000
REPEATED = "repeated.npy"
"""REPEATED_DTYPE, sorted."""
KEYS = "keys.npy"
"""uint64, sorted: the repeated keys of one shard."""

REPEATED_DTYPE = np.dtype([("shard", "<i4"), ("key", "<u8")])
"""A repeated key, and the index in the group of a shard that has it."""


def range_count(rows: int, most: int) -> int:
    """Return the number of hash ranges, a power of two, such that each holds about `most` rows or fewer."""
    ranges = 1
    while ranges * most < rows:
        ranges *= 2
    return ranges


def bounds_of_range(number: int, ranges: int) -> tuple[int, int]:
    """Return the bounds [low, high) of one of a power of two ranges of 64-bit hashes."""
    width = 2**64 // ranges
    return number * width, (number + 1) * width


def find_repeated(store: Store, key: str, group: str, number: int, ranges: int) -> None:
    """Write the keys in range `number` that occur more than once over all shards of a group, by shard."""
    low, high = bounds_of_range(number, ranges)
    slices = [_slice(store, shard, low, high) for shard in load_group(store, STAGE, group)]
    owners = np.repeat(np.arange(len(slices)), [len(each) for each in slices])
    repeated = repeated_of(np.concatenate(slices), owners)
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(REPEATED).open("wb") as file:
            np.save(file, repeated, allow_pickle=False)
        attempt.commit(facts={"shards": np.unique(repeated["shard"]).tolist()})


def _slice(store: Store, shard: GroupShard, low: int, high: int) -> NDArray[np.uint64]:
    table = np.load(store.path(f"{shard.folder}/{ANCHORS}"), mmap_mode="r")
    part = table[rows_between(table["key"], low, high)]
    keys: NDArray[np.uint64] = np.array(part["key"])
    if shard.bitmap is not None:
        keys = keys[np.load(store.path(shard.bitmap), mmap_mode="r")[part["row"]]]
    return keys


def repeated_of(keys: NDArray[np.uint64], shards: NDArray[np.int64]) -> NDArray[Any]:
    """Return the keys that occur more than once with the shards that have them, REPEATED_DTYPE, sorted.

    Args:
        keys: uint64 [anchors].
        shards: int64 [anchors], the index of each one's shard.
    """
    order = np.argsort(keys, kind="stable")
    keys, shards = keys[order], shards[order]
    is_next = np.zeros(len(keys) + 1, dtype=np.bool_)
    is_next[1:-1] = keys[1:] == keys[:-1]
    is_repeated = is_next[1:] | is_next[:-1]
    found = np.empty(int(is_repeated.sum()), dtype=REPEATED_DTYPE)
    found["shard"], found["key"] = shards[is_repeated], keys[is_repeated]
    return np.unique(found)


def gather_keys(store: Store, shards: Sequence[tuple[str, tuple[int, Sequence[str]]]]) -> None:
    """Write the repeated keys of several shards: key, (index of the shard, keys of the ranges with its anchors)."""
    for key, (index, ranges) in shards:
        parts = []
        for each in ranges:
            repeated = np.load(store.path(f"{STAGE}/{each}/{REPEATED}"), mmap_mode="r")
            parts.append(repeated[rows_between(repeated["shard"], index, index + 1)]["key"])
        with store.attempt(STAGE, key) as attempt:
            with attempt.path(KEYS).open("wb") as file:
                np.save(file, np.concatenate(parts), allow_pickle=False)  # ranges ascend
            attempt.commit()
