"""The keys of a shard's anchors, sorted, so that a range of keys is one slice of the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.read.texts import iter_texts

from .anchors import anchored_runs

STAGE = "substrings"
VERSION = 1
ANCHORS = "anchors.npy"
"""ANCHOR_DTYPE, sorted by key and row; at most two of one key and row."""

ANCHOR_DTYPE = np.dtype([("key", "<u8"), ("row", "<u4")])
"""An anchor: its key, and the row of its document in the shard."""


def hash_anchors(store: Store, window: int, shards: Sequence[tuple[str, str]]) -> None:
    """Write the sorted anchors of shards, given as (key, folder)."""
    for key, folder in shards:
        parts = [np.empty(0, dtype=ANCHOR_DTYPE), *_anchors(store, folder, window)]
        table = at_most_two_of_each(np.concatenate(parts))
        with store.attempt(STAGE, key) as attempt:
            with attempt.path(ANCHORS).open("wb") as file:
                np.save(file, table, allow_pickle=False)
            attempt.commit(facts={"anchors": len(table)})


def _anchors(store: Store, folder: str, window: int) -> Iterator[NDArray[Any]]:
    row = 0
    for data, bounds in iter_texts(store, folder):
        for runs in anchored_runs(data, bounds, window):
            found = np.empty(len(runs.key), dtype=ANCHOR_DTYPE)
            found["key"] = runs.key
            found["row"] = row + np.searchsorted(bounds, runs.first, side="right") - 1
            # a run that continues from the block before has the key of the same place
            yield at_most_two_of_each(found[np.append(True, np.diff(runs.key_position) != 0)]) if len(found) else found
        row += len(bounds) - 1


def at_most_two_of_each(anchors: NDArray[Any]) -> NDArray[Any]:
    """Sort anchors by key and row, and drop all but two of one key and row: two show that the key is repeated."""
    ordered = anchors[np.lexsort((anchors["row"], anchors["key"]))]
    stays = np.ones(len(ordered), dtype=np.bool_)
    stays[2:] = ordered[2:] != ordered[:-2]
    kept: NDArray[Any] = ordered[stays]
    return kept
