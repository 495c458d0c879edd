"""Connected documents from the forests of all ranges: the first of each component stays, the others go.

Only documents with an edge are here: about 100 bytes of memory for each, in one task. A group of sources with
a billion near-duplicates takes 100 GB of one machine's memory at this point and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Receipt, Store

from .bitmap import BITMAP, save_bitmap
from .edges import FOREST, STAGE, forest
from .read import HASHES

LOSERS = "losers.npy"
"""int64 [losers, 3], rising: the shard's place in its group, the row, the place of its keeper's shard."""


def find_losers(store_url: str, key: str, forests: Sequence[str], firsts: Sequence[int]) -> list[int]:
    """Write all documents that go; returns the places of the shards that lose some.

    Args:
        store_url: the store.
        key: of this output.
        forests: keys of the ranges' forests.
        firsts: the first document of each shard, counted over all shards.
    """
    store = Store(store_url)
    parts = [np.load(store.path(f"{STAGE}/{part}/{FOREST}")) for part in forests]
    losers = losers_of(forest(np.concatenate(parts)), np.array(firsts, dtype=np.int64))
    losing = np.unique(losers[:, 0]).tolist()
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(LOSERS).open("wb") as file:
            np.save(file, losers, allow_pickle=False)
        attempt.commit(facts={"shards": losing})
    return [int(place) for place in losing]


def losers_of(branches: NDArray[np.int64], firsts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Turn (keeper, loser) of documents into (loser's shard, row, keeper's shard), rising."""
    shards = np.searchsorted(firsts, branches, side="right") - 1  # an empty shard has the same first as the next
    rows = branches[:, 1] - firsts[shards[:, 1]]
    losers = np.column_stack([shards[:, 1], rows, shards[:, 0]])
    return losers[np.lexsort((losers[:, 1], losers[:, 0]))]


def write_bitmaps(store_url: str, losers: str, calls: Sequence[tuple[str, int, str, str | None, int]]) -> list[Receipt]:
    """Write the bitmaps of several shards, with the bytes that each lost to each.

    Args:
        store_url: the store.
        losers: key of the list of losers.
        calls: key, place of the shard, folder of its documents, path of the bitmap before or None, documents.
    """
    store = Store(store_url)
    table = np.load(store.path(f"{STAGE}/{losers}/{LOSERS}"), mmap_mode="r")
    receipts = []
    for key, place, folder, before, documents in calls:
        first, last = np.searchsorted(table[:, 0], [place, place + 1])
        mine = np.array(table[first:last])
        keep = np.ones(documents, dtype=np.bool_) if before is None else np.load(store.path(before))
        keep[mine[:, 1]] = False
        with store.attempt(STAGE, key) as attempt:
            save_bitmap(attempt.path(BITMAP), keep)
            lost = _sums(mine, _text_bytes(store, folder))
            receipts.append(attempt.commit(facts={"kept": int(keep.sum()), "lost": lost}))
    return receipts


def _text_bytes(store: Store, folder: str) -> NDArray[np.int64]:
    """UTF-8 bytes of a shard's documents in the order of rows."""
    hashes = np.load(store.path(f"{folder}/{HASHES}"))
    sizes = np.zeros(len(hashes), dtype=np.int64)
    sizes[hashes["row"]] = hashes["bytes"]
    return sizes


def _sums(losers: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[list[int]]:
    """Rows [keeper's shard, documents, bytes], rising."""
    winners, inverse = np.unique(losers[:, 2], return_inverse=True)
    lost = np.zeros(len(winners), dtype=np.int64)
    np.add.at(lost, inverse, sizes[losers[:, 1]])
    documents = np.bincount(inverse, minlength=len(winners))
    return [[int(one), int(n), int(size)] for one, n, size in zip(winners, documents, lost, strict=True)]
