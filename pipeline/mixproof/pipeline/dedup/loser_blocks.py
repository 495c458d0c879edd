"""Losers applied to the shards of a large group block by block, so that the driver holds nothing for single losers.

With few shards, the driver knows which list of losers names which shard (`exact.py`, `group_bitmaps.py`). That is up to
one number for each loser. With many, a task over a block of consecutive shards looks into all lists. It writes the
bitmaps of its shards, under the keys that they have in a small group, and the losers of the block as a list of its own.
Its receipt states for each shard the bitmap, and what it lost to each source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Attempt, Store
from mixproof.ledger.store.batch import open_batch
from mixproof.ledger.store.receipts import find_receipts
from mixproof.pipeline.bitmap import BITMAP, Bitmap, save_bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.read.batches import SHARDS_PER_TASK, in_batches
from mixproof.pipeline.read.shards import Shard

from .keepers import LOSERS
from .lost_documents import GroupResult, LossSums

VERSION = 1
LISTS = "lists.json"

BlockShard = tuple[int, Shard, Bitmap | None]
"""A shard of a block: its index in the group, and its bitmap before the search."""


@dataclass(frozen=True)
class BlockBitmap:
    """The bitmap of a shard of a block."""

    keep: Callable[[], NDArray[np.bool_]]
    """Makes it."""
    facts: Mapping[str, object]
    """Of its receipt, beside the number of kept rows."""


@dataclass(frozen=True)
class Search:
    """A search over a group whose tasks listed the losers."""

    stage: str
    version: int
    group: str
    """Key of the list of shards, or of their contents."""
    label: str
    """Names the tasks in progress."""
    beside: tuple[str, ...] = ()
    """Arrays beside the losers of a list, with an entry for each."""


@dataclass(frozen=True)
class Lists:
    """The lists of losers of a search."""

    keys: tuple[str, ...]
    digests: tuple[str, ...]
    """SHA-256 of each list."""
    sources: NDArray[np.int64]
    """Index of the first shard of each source."""

    def source_of(self, shards: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first shard of the source of each of `shards`."""
        found: NDArray[np.int64] = self.sources[np.searchsorted(self.sources, shards, side="right") - 1]
        return found


def apply_blocks(
    search: Search,
    shards: Sequence[Shard],
    keep: Sequence[Bitmap | None],
    lists: Mapping[str, str],
    write_block: Callable[..., None],
    store: Store,
    cluster: Cluster,
) -> GroupResult:
    """Write the bitmaps of the shards that lose documents.

    Args:
        search: that listed the losers.
        shards: of the group, in order of priority.
        keep: the bitmap of each before the search.
        lists: the SHA-256 of each list, by its key, in order.
        write_block: a function of a module that writes a block: (store, key, search, key of the lists, shards).
        store: where the bitmaps go.
        cluster: runs the tasks.
    """
    if not lists:
        return GroupResult(list(keep), [], {})
    saved = _save(search, shards, lists, store)
    work = {
        stage_key(search.stage, VERSION, {"shards": [block[0][0], block[-1][0] + 1]}, [search.group, saved]): block
        for block in in_batches(zip(range(len(shards)), shards, keep, strict=True), SHARDS_PER_TASK)
    }

    def calls(missing: Mapping[str, Sequence[BlockShard]]) -> list[tuple[object, ...]]:
        return [(store, key, search, saved, block) for key, block in missing.items()]

    receipts = run_missing(store, search.stage, work, calls, write_block, cluster, search.label)
    bitmaps, losses, paths = list(keep), LossSums(shards), dict[int, tuple[str, ...]]()
    for block in work:
        for index, key, sha256, kept, lost in receipts[block].facts["shards"]:
            bitmaps[index] = Bitmap(f"{search.stage}/{key}/{BITMAP}", sha256, kept)
            paths[index] = (f"{search.stage}/{block}/{LOSERS}",)
            for row in lost:
                losses.add(index, *row)
    return GroupResult(bitmaps, losses.losses(), paths)


def _save(search: Search, shards: Sequence[Shard], lists: Mapping[str, str], store: Store) -> str:
    """Save what all tasks need to know of the lists; returns its key."""
    names = [shard.source for shard in shards]
    sources = [index for index, name in enumerate(names) if not index or names[index - 1] != name]
    content = {"keys": list(lists), "digests": list(lists.values()), "sources": sources}
    key = stage_key(search.stage, VERSION, {"lists": True}, content)
    if store.receipt(search.stage, key) is None:
        with store.attempt(search.stage, key) as attempt:
            attempt.path(LISTS).write_bytes(orjson.dumps(content))
            attempt.commit()
    return key


def load_lists(store: Store, stage: str, key: str) -> Lists:
    """Read what is known of the lists; a process caches the last ones that it read."""
    return _load(str(store), stage, key)


@lru_cache(maxsize=1)
def _load(store: str, stage: str, key: str) -> Lists:
    saved = orjson.loads(Store(store).path(f"{stage}/{key}/{LISTS}").read_bytes())
    return Lists(tuple(saved["keys"]), tuple(saved["digests"]), np.array(saved["sources"], np.int64))


def parts_of_lists(
    store: Store, search: Search, lists: Lists, between: Callable[[NDArray[Any]], slice]
) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """Read the losers of a block from all lists.

    Args:
        store: the store.
        search: that listed them.
        lists: of the search.
        between: finds those of the block in a list.

    Returns:
        The number of each one's list, int64 [losers], and by name the arrays of the lists, in the order of the lists.
    """
    numbers: list[NDArray[np.int64]] = []
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in (LOSERS, *search.beside)}
    for number, key in enumerate(lists.keys):
        mapped = {name: load_array(store.path(f"{search.stage}/{key}/{name}"), mmap_mode="r") for name in parts}
        part = between(mapped[LOSERS])
        if part.stop > part.start or not number:  # the first one gives the dtype
            numbers.append(np.full(part.stop - part.start, number))
            for name, values in mapped.items():
                parts[name].append(np.array(values[part]))
    return np.concatenate(numbers), {name: np.concatenate(each) for name, each in parts.items()}


def save_block(attempt: Attempt, arrays: Mapping[str, NDArray[Any]], order: NDArray[np.int64]) -> None:
    """Write the losers of a block in this order."""
    for name, values in arrays.items():
        with attempt.path(name).open("wb") as file:
            np.save(file, values[order], allow_pickle=False)


def bitmaps_once(store: Store, stage: str, wanted: Mapping[str, BlockBitmap]) -> dict[str, tuple[str, int]]:
    """Write the bitmaps of a block, by key, that the store does not have.

    All are looked up together: one that is missing is looked for in all sealed receipts of the stage.

    Returns:
        The SHA-256 of each, and its number of kept rows.
    """
    known = find_receipts(store, stage, wanted)
    found = dict(known)
    missing = [key for key in wanted if key not in known]
    if missing:
        with open_batch(store, stage, missing) as outputs:
            for key in missing:
                with outputs.attempt(stage, key) as attempt:
                    bitmap = wanted[key].keep()
                    save_bitmap(attempt.path(BITMAP), bitmap)
                    found[key] = attempt.commit(facts={"kept": int(bitmap.sum()), **wanted[key].facts})
    return {key: (found[key].files[BITMAP].sha256, int(found[key].facts["kept"])) for key in wanted}
