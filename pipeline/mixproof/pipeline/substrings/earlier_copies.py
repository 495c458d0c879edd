"""Windows of which an earlier section has a copy, found by ranges of hashes over all sections of a group.

Sections are in order of priority, so the first window of a hash is the first by (declared priority of its source,
source name, file, record, byte), under any split into shards. Memory: about 120 bytes for each of 4 million windows,
of which those with the same hash in a section count once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.shuffle.gather import Between
from mixproof.pipeline.shuffle.shuffle import Ranges, Table
from mixproof.pipeline.sorted_rows import rows_between

from .anchor_tables import STAGE
from .windows import WINDOW_DTYPE

RANGE_WINDOWS = 4_000_000
COPIES = "copies.npy"
"""COPY_DTYPE, sorted by section and hash."""

SECTION_WINDOW_DTYPE = np.dtype([*WINDOW_DTYPE.descr, ("section", "<i4"), ("shard", "<i4")])
"""A window, and the indices of its section and shard in the group."""
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
    number: int
    """Index of the section in the group."""


def open_section(store: Store, section: Section) -> Between:
    """Map the windows of a section."""
    return partial(firsts_between, load_array(store.path(section.path), mmap_mode="r"), section)


def firsts_between(windows: NDArray[Any], section: Section, low: int, high: int) -> NDArray[Any]:
    """The first window of each hash."""
    part = first_of_each(windows[rows_between(windows["hash"], low, high)])
    found = np.empty(len(part), dtype=SECTION_WINDOW_DTYPE)
    for name in WINDOW_DTYPE.names or ():
        found[name] = part[name]
    found["section"], found["shard"] = section.number, section.shard
    return found


WINDOW_TABLE = Table(open_section, SECTION_WINDOW_DTYPE)


def find_earlier(store: Store, key: str, windows: Ranges, number: int) -> None:
    """Write the windows in hash range `number` of which an earlier section has a copy."""
    copies = earlier_copies(windows.read(store, number))
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


def earlier_copies(windows: NDArray[Any]) -> NDArray[Any]:
    """Return COPY_DTYPE, one row for each hash of a section that has its first window in an earlier section.

    Args:
        windows: SECTION_WINDOW_DTYPE, one of each hash and section; those of equal hash are in order of priority.
    """
    order = np.argsort(windows["hash"], kind="stable")
    hashes = windows["hash"][order]
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = hashes[1:] != hashes[:-1]
    first = np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))
    chosen = ~is_first
    first = first[chosen]
    copies = np.empty(len(first), dtype=COPY_DTYPE)
    copies["section"], copies["hash"] = windows["section"][order[chosen]], hashes[chosen]
    keeper = windows[order[first]]
    for name in ("shard", "row", "offset"):
        copies[name] = keeper[name]
    return copies[np.lexsort((copies["hash"], copies["section"]))]


def copies_in(store: Store, ranges: Sequence[str], section: int) -> NDArray[Any]:
    """Read the copies of one section from the ranges that have any, in their order: COPY_DTYPE, sorted by hash."""
    parts = [np.empty(0, dtype=COPY_DTYPE)]
    for key in ranges:
        copies = load_array(store.path(f"{STAGE}/{key}/{COPIES}"), mmap_mode="r")
        parts.append(np.array(copies[rows_between(copies["section"], section, section + 1)]))
    return np.concatenate(parts)
