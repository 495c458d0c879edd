"""What fuzzy deduplication takes out of each shard: a bitmap, and the documents and bytes it lost to each shard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.bitmap import BITMAP, save_bitmap
from mixproof.pipeline.group import load_group
from mixproof.pipeline.read.shards import HASHES
from mixproof.pipeline.sorted_rows import rows_between

from .edges import STAGE, Places
from .keepers import LOSERS


def write_bitmaps(
    store_url: str,
    group: str,
    losers: Sequence[str],
    calls: Sequence[tuple[str, int, str, str | None, int]],
) -> None:
    """Write the bitmaps of several shards, with what each lost to each.

    Args:
        store_url: the store.
        group: key of the list of shards.
        losers: keys of the lists of losers.
        calls: key, place of the shard, folder of its documents, path of the bitmap before or None, documents.
    """
    store = Store(store_url)
    firsts = [shard.first for shard in load_group(store_url, STAGE, group)]
    lists = [np.load(store.path(f"{STAGE}/{key}/{LOSERS}"), mmap_mode="r") for key in losers]
    for key, place, folder, before, documents in calls:
        mine = np.concatenate([_slice(each, firsts[place], firsts[place] + documents) for each in lists])
        rows = mine[:, 0] - firsts[place]
        keep = np.ones(documents, dtype=np.bool_) if before is None else np.load(store.path(before))
        keep[rows] = False
        lost = sums(shards_of(mine[:, 1], firsts), _text_bytes(store, folder)[rows])
        with store.attempt(STAGE, key) as attempt:
            save_bitmap(attempt.path(BITMAP), keep)
            attempt.commit(facts={"kept": int(keep.sum()), "lost": lost})


def shards_of(documents: Places, firsts: Sequence[int]) -> Places:
    """The place of each document's shard; an empty shard has the same first document as the next."""
    return np.searchsorted(np.array(firsts, dtype=np.int64), documents, side="right") - 1


def sums(winners: Places, sizes: NDArray[np.int64]) -> list[list[int]]:
    """Rows [keeper's shard, documents, bytes], rising, of documents of `sizes` bytes that went for `winners`."""
    numbers, inverse = np.unique(winners, return_inverse=True)
    lost = np.zeros(len(numbers), dtype=np.int64)
    np.add.at(lost, inverse, sizes)
    documents = np.bincount(inverse, minlength=len(numbers))
    return [[int(one), int(n), int(size)] for one, n, size in zip(numbers, documents, lost, strict=True)]


def _slice(losers: Places, low: int, high: int) -> Places:
    return np.array(losers[rows_between(losers[:, 0], low, high)])


def _text_bytes(store: Store, folder: str) -> NDArray[np.int64]:
    """UTF-8 bytes of a shard's documents in the order of rows."""
    hashes = np.load(store.path(f"{folder}/{HASHES}"))
    sizes = np.zeros(len(hashes), dtype=np.int64)
    sizes[hashes["row"]] = hashes["bytes"]
    return sizes
