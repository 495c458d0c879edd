"""Copies of paragraphs: all but the first with each hash over a group's shards, found by ranges of hashes.

Shards are in order of priority, so the first by (shard, row, paragraph) is the first by (declared priority of its
source, source name, file, record, paragraph), under any split into shards. A task takes one range of hashes from all
shards (`shuffle/`) and lists the copies; then tasks over shards gather each shard's copies from all ranges.
Memory: about 100 bytes for each of 4 million paragraphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.group import load_group
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.shuffle.indexed_shards import indexed_table
from mixproof.pipeline.shuffle.plan import power_of_two
from mixproof.pipeline.shuffle.shuffle import Ranges
from mixproof.pipeline.sorted_rows import rows_between

from .paragraph_hashes import PARAGRAPH_DTYPE, PARAGRAPHS, STAGE

VERSION = 2
"""Of the outputs of this module. Lists of cuts have the version of the stage, because a manifest names their keys."""
COPIES = "copies.npy"
CUTS = "cuts.npy"
KEEPERS = "keepers.npy"
RANGE_PARAGRAPHS = 4_000_000

COPY_DTYPE = np.dtype(
    [("shard", "<i4"), ("row", "<u4"), ("paragraph", "<u4"), ("keeper", "<i4"), ("keeper_row", "<u4")]
)
"""A paragraph to cut: index of its shard in the group, row of its document, its index in the document, index of the
shard that keeps it, and the row there of the document that keeps it."""
SHARD_PARAGRAPH_DTYPE = np.dtype([*PARAGRAPH_DTYPE.descr, ("shard", "<i4")])
"""A paragraph, and the index of its shard in the group."""
CUT_DTYPE = np.dtype([("row", "<u4"), ("paragraph", "<u4"), ("keeper", "<u4")])
"""A paragraph to cut from one shard; the keeper is an index into the source names in the fact `keepers`."""
KEEPER_DTYPE = np.dtype([("shard", "<i4"), ("row", "<u4")])
"""The document that keeps a paragraph: index of its shard in the group, its row there. One per row of `cuts.npy`."""


def range_count(paragraphs: int) -> int:
    """Return the number of hash ranges, a power of two, such that a task holds about 4 million paragraphs."""
    return power_of_two(-(-paragraphs // RANGE_PARAGRAPHS))


def find_copies(store: Store, key: str, paragraphs: Ranges, number: int) -> None:
    """Write the copies in hash range `number` over all shards of a group, by shard, row and paragraph."""
    copies = copies_of(paragraphs.read(store, number))
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(COPIES).open("wb") as file:
            np.save(file, copies, allow_pickle=False)
        attempt.commit(facts={"shards": np.unique(copies["shard"]).tolist()})


PARAGRAPH_TABLE = indexed_table(PARAGRAPHS, SHARD_PARAGRAPH_DTYPE)


def copies_of(paragraphs: NDArray[Any]) -> NDArray[Any]:
    """Return all but the first of the paragraphs with equal hash, COPY_DTYPE by shard, row and paragraph.

    Args:
        paragraphs: SHARD_PARAGRAPH_DTYPE [paragraphs]; those with equal hash are ordered by shard, row and paragraph.
    """
    order = np.lexsort((paragraphs["low"], paragraphs["high"]))  # stable
    ordered = paragraphs[order]
    is_copy = np.zeros(len(ordered), dtype=np.bool_)
    is_copy[1:] = (ordered["high"][1:] == ordered["high"][:-1]) & (ordered["low"][1:] == ordered["low"][:-1])
    keeper = np.maximum.accumulate(np.where(is_copy, 0, np.arange(len(ordered))))[is_copy]
    copies = np.empty(len(keeper), dtype=COPY_DTYPE)
    copies["shard"], copies["keeper"] = ordered["shard"][is_copy], ordered["shard"][keeper]
    copies["row"], copies["paragraph"] = ordered["row"][is_copy], ordered["paragraph"][is_copy]
    copies["keeper_row"] = ordered["row"][keeper]
    return copies[np.lexsort((copies["paragraph"], copies["row"], copies["shard"]))]


def gather_cuts(store: Store, group: str, shards: Sequence[tuple[str, tuple[int, Sequence[str]]]]) -> None:
    """Write what to cut from each of several shards: key, (index of the shard, keys of the ranges with its copies)."""
    sources = [shard.source for shard in load_group(store, STAGE, group)]
    indices = [index for _, (index, _) in shards]
    lists = {}
    for each in dict.fromkeys(each for _, (_, ranges) in shards for each in ranges):  # each list is opened once
        copies = load_array(store.path(f"{STAGE}/{each}/{COPIES}"), mmap_mode="r")
        lists[each] = _copies_of(copies, min(indices), max(indices) + 1)
    for key, (index, ranges) in shards:
        copies = np.concatenate([_copies_of(lists[each], index, index + 1) for each in ranges])
        copies = copies[np.lexsort((copies["paragraph"], copies["row"]))]
        names = [sources[shard] for shard in copies["keeper"]]
        keepers = sorted(set(names))
        cuts = np.empty(len(copies), dtype=CUT_DTYPE)
        cuts["row"], cuts["paragraph"] = copies["row"], copies["paragraph"]
        cuts["keeper"] = [keepers.index(name) for name in names]
        kept_in = np.empty(len(copies), dtype=KEEPER_DTYPE)
        kept_in["shard"], kept_in["row"] = copies["keeper"], copies["keeper_row"]
        with store.attempt(STAGE, key) as attempt:
            for name, table in ((CUTS, cuts), (KEEPERS, kept_in)):
                with attempt.path(name).open("wb") as file:
                    np.save(file, table, allow_pickle=False)
            attempt.commit(facts={"keepers": keepers})


def _copies_of(copies: NDArray[Any], first: int, last: int) -> NDArray[Any]:
    """The copies in shards [first, last)."""
    of_shards: NDArray[Any] = np.array(copies[rows_between(copies["shard"], first, last)])
    return of_shards
