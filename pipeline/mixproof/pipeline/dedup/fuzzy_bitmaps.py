"""The result of fuzzy deduplication by shard: a bitmap, and the documents and bytes that it lost to each shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.bitmap import BITMAP, save_bitmap
from mixproof.pipeline.group import load_group
from mixproof.pipeline.read.shards import HASHES
from mixproof.pipeline.sorted_rows import rows_between

from .edges import STAGE, Documents, shards_of
from .keepers import LOSERS


@dataclass(frozen=True)
class BitmapWork:
    """The bitmap of one shard, to be written."""

    shard: int
    """Index of the shard in its group."""
    folder: str
    """Folder of its documents."""
    before: str | None
    """Path of the bitmap that exact deduplication left; None: all rows."""
    documents: int
    losers: list[str]
    """Keys of the lists of losers that name documents of the shard."""


def write_bitmaps(store: Store, group: str, work: Sequence[tuple[str, BitmapWork]]) -> None:
    """Write the bitmaps of several shards, each under its key, with what each lost; `group`: key of the shard list."""
    firsts = [shard.first for shard in load_group(store, STAGE, group)]
    for key, shard in work:
        lists = [np.load(store.path(f"{STAGE}/{each}/{LOSERS}"), mmap_mode="r") for each in shard.losers]
        first = firsts[shard.shard]
        losers = np.concatenate([_between(each, first, first + shard.documents) for each in lists])
        rows = losers[:, 0] - first
        keep = np.ones(shard.documents, dtype=np.bool_) if shard.before is None else np.load(store.path(shard.before))
        keep[rows] = False
        lost = sums(shards_of(losers[:, 1], firsts), _text_bytes(store, shard.folder)[rows])
        with store.attempt(STAGE, key) as attempt:
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


def _text_bytes(store: Store, folder: str) -> NDArray[np.int64]:
    """Return the UTF-8 bytes of a shard's documents, in the order of rows."""
    hashes = np.load(store.path(f"{folder}/{HASHES}"))
    sizes = np.zeros(len(hashes), dtype=np.int64)
    sizes[hashes["row"]] = hashes["bytes"]
    return sizes
