"""Windows of which an earlier section has a copy, found by ranges of hashes over all sections of a group.

Sections are in order of priority, so the first window of a hash is the first by (declared priority of its source,
source name, file, record, byte), under any split into shards. Memory: about 120 bytes for each of 4 million windows,
of which those with the same hash in a section count once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.sorted_rows import rows_between

from .anchor_tables import STAGE
from .repeated_anchors import bounds_of_range

RANGE_WINDOWS = 4_000_000
COPIES = "copies.npy"
"""COPY_DTYPE, sorted by section and hash."""
SECTIONS = "sections.json"

COPY_DTYPE = np.dtype([("section", "<i4"), ("hash", "<u8"), ("shard", "<i4"), ("row", "<u4"), ("offset", "<u4")])
"""A window of a section whose first copy is in an earlier section: index of the section, hash of the window; then
shard, row and offset of the first copy."""


@dataclass(frozen=True)
class Section:
    """A section of the windows of a group."""

    path: str
    """Its file, relative to the store."""
    shard: int
    """Index of its shard in the group."""


def save_sections(store: Store, key: str, sections: Sequence[Section]) -> None:
    """Write the list of a group's sections, unless the store has it."""
    if store.receipt(STAGE, key) is None:
        with store.attempt(STAGE, key) as attempt:
            attempt.path(SECTIONS).write_bytes(orjson.dumps([asdict(section) for section in sections]))
            attempt.commit()


@lru_cache(maxsize=1)
def _load_sections(store: str, key: str) -> tuple[Section, ...]:
    data = Store(store).path(f"{STAGE}/{key}/{SECTIONS}").read_bytes()
    return tuple(Section(**each) for each in orjson.loads(data))


def find_earlier(store: Store, key: str, group: str, number: int, ranges: int) -> None:
    """Write the windows in hash range `number` of which an earlier section has a copy."""
    low, high = bounds_of_range(number, ranges)
    sections = _load_sections(str(store), group)
    slices = []
    for section in sections:
        windows = np.load(store.path(section.path), mmap_mode="r")
        slices.append(first_of_each(windows[rows_between(windows["hash"], low, high)]))
    owners = np.repeat(np.arange(len(slices), dtype=np.int32), [len(each) for each in slices])
    shards = np.array([section.shard for section in sections], dtype=np.int32)
    copies = earlier_copies(np.concatenate(slices), owners, shards)
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(COPIES).open("wb") as file:
            np.save(file, copies, allow_pickle=False)
        attempt.commit(facts={"sections": np.unique(copies["section"]).tolist()})


def first_of_each(windows: NDArray[Any]) -> NDArray[Any]:
    """Return the first of the windows with each hash, which are next to each other."""
    is_first = np.ones(len(windows), dtype=np.bool_)
    is_first[1:] = windows["hash"][1:] != windows["hash"][:-1]
    found: NDArray[Any] = windows[is_first]
    return found


def earlier_copies(windows: NDArray[Any], owners: NDArray[np.int32], shards: NDArray[np.int32]) -> NDArray[Any]:
    """Return COPY_DTYPE, one row for each hash of a section that has its first window in an earlier section.

    Args:
        windows: WINDOW_DTYPE, one of each hash and section; those of equal hash are in order of priority.
        owners: int32 [windows], the index of each one's section, ascending.
        shards: int32 [sections], the shard of each section.
    """
    order = np.argsort(windows["hash"], kind="stable")
    hashes, owners = windows["hash"][order], owners[order]
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = hashes[1:] != hashes[:-1]
    first = np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))
    chosen = ~is_first
    first = first[chosen]
    copies = np.empty(len(first), dtype=COPY_DTYPE)
    copies["section"], copies["hash"], copies["shard"] = owners[chosen], hashes[chosen], shards[owners[first]]
    keeper = windows[order[first]]
    copies["row"], copies["offset"] = keeper["row"], keeper["offset"]
    return copies[np.lexsort((copies["hash"], copies["section"]))]


def copies_in(store: Store, ranges: Sequence[str], section: int) -> NDArray[Any]:
    """Read the copies of one section from the ranges that have any, in their order: COPY_DTYPE, sorted by hash."""
    parts = [np.empty(0, dtype=COPY_DTYPE)]
    for key in ranges:
        copies = np.load(store.path(f"{STAGE}/{key}/{COPIES}"), mmap_mode="r")
        parts.append(np.array(copies[rows_between(copies["section"], section, section + 1)]))
    return np.concatenate(parts)
