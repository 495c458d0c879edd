"""Keys of anchors that occur more than once in a group of shards, found by ranges of keys, then gathered by shard.

A task takes one range of keys from all shards (`shuffle/`) and lists the repeated keys of each shard; then tasks over
shards gather their keys from all ranges. Memory: about 60 bytes for each of 4 million anchors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.shuffle.indexed_shards import indexed_table
from mixproof.pipeline.shuffle.plan import power_of_two
from mixproof.pipeline.shuffle.shuffle import Ranges
from mixproof.pipeline.sorted_rows import rows_between

from .anchor_tables import ANCHORS, STAGE

RANGE_ANCHORS = 4_000_000
REPEATED = "repeated.npy"
"""REPEATED_DTYPE, sorted."""
KEYS = "keys.npy"
"""uint64, sorted: the repeated keys of one shard."""

SHARD_ANCHOR_DTYPE = np.dtype([("key", "<u8"), ("shard", "<i4")])
"""The key of an anchor, and the index of its shard in the group."""
REPEATED_DTYPE = np.dtype([("shard", "<i4"), ("key", "<u8")])
"""A repeated key, and the index in the group of a shard that has it."""


def range_count(rows: int, most: int) -> int:
    """Return the number of hash ranges, a power of two, such that each holds about `most` rows or fewer."""
    return power_of_two(-(-rows // most))


def find_repeated(store: Store, key: str, anchors: Ranges, number: int) -> None:
    """Write the keys in range `number` that occur more than once over all shards of a group, by shard."""
    found = anchors.read(store, number)
    repeated = repeated_of(found["key"], found["shard"])
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(REPEATED).open("wb") as file:
            np.save(file, repeated, allow_pickle=False)
        attempt.commit(facts={"shards": np.unique(repeated["shard"]).tolist()})


ANCHOR_TABLE = indexed_table(ANCHORS, SHARD_ANCHOR_DTYPE)


def repeated_of(keys: NDArray[np.uint64], shards: NDArray[Any]) -> NDArray[Any]:
    """Return the keys that occur more than once with the shards that have them, REPEATED_DTYPE, sorted.

    Args:
        keys: uint64 [anchors].
        shards: integers [anchors], the index of each one's shard.
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
    indices = [index for _, (index, _) in shards]
    lists = {}
    for each in dict.fromkeys(each for _, (_, ranges) in shards for each in ranges):  # each list is opened once
        repeated = load_array(store.path(f"{STAGE}/{each}/{REPEATED}"), mmap_mode="r")
        lists[each] = np.array(repeated[rows_between(repeated["shard"], min(indices), max(indices) + 1)])
    for key, (index, ranges) in shards:
        parts = [lists[each][rows_between(lists[each]["shard"], index, index + 1)]["key"] for each in ranges]
        with store.attempt(STAGE, key) as attempt:
            with attempt.path(KEYS).open("wb") as file:
                np.save(file, np.concatenate(parts), allow_pickle=False)  # ranges ascend
            attempt.commit()
