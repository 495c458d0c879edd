"""The windows of a shard that may be repeated: those whose anchor has a repeated key.

Windows are in the order of their positions and divided into sections of a fixed number, each of which is a file sorted
by hash. So memory does not grow with the shard: about 100 bytes for each of a million windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.read.texts import iter_texts

from .anchor_tables import ANCHORS, STAGE
from .anchors import anchored_runs
from .byte_hashes import hashes_of_all
from .repeated_anchors import KEYS

SECTION_WINDOWS = 1_000_000

WINDOW_DTYPE = np.dtype([("hash", "<u8"), ("row", "<u4"), ("offset", "<u4")])
"""A window: its hash, the row of its document in the shard, the byte of the document at which it begins."""


def section_name(number: int) -> str:
    """Name the file of a section, which holds WINDOW_DTYPE sorted by hash, row and offset."""
    return f"windows-{number}.npy"


@dataclass(frozen=True)
class ShardWindows:
    """What a task needs to find the windows of one shard."""

    key: str
    folder: str
    """Folder of its documents."""
    anchors: str
    """Key of its anchors."""
    repeated: str
    """Key of its repeated keys."""
    bitmap: str | None
    """Path of the bitmap of participating rows; None: all."""


def hash_windows(store: Store, window: int, shards: Sequence[ShardWindows]) -> None:
    """Write the windows of several shards."""
    for shard in shards:
        sizes = []
        with store.attempt(STAGE, shard.key) as attempt:
            for number, section in enumerate(in_sections(_windows(store, window, shard), SECTION_WINDOWS)):
                ordered = section[np.argsort(section["hash"], kind="stable")]  # row and offset ascend
                with attempt.path(section_name(number)).open("wb") as file:
                    np.save(file, ordered, allow_pickle=False)
                sizes.append(len(section))
            attempt.commit(facts={"windows": sizes})


def in_sections(tables: Iterable[NDArray[Any]], size: int) -> Iterator[NDArray[Any]]:
    """Divide rows that come in tables into arrays of `size` rows; the last one may be smaller."""
    pending: list[NDArray[Any]] = []
    rows = 0
    for table in tables:
        pending.append(table)
        rows += len(table)
        if rows >= size:
            whole = np.concatenate(pending)
            last = rows - rows % size
            yield from (whole[first : first + size] for first in range(0, last, size))
            pending, rows = [whole[last:].copy()], rows - last
    if rows:
        yield np.concatenate(pending)


def _windows(store: Store, window: int, shard: ShardWindows) -> Iterator[NDArray[Any]]:
    """Yield the windows with repeated keys in the order of their positions."""
    repeated = load_array(store.path(f"{STAGE}/{shard.repeated}/{KEYS}"))
    wanted = _rows_with(store, shard, repeated)
    row = 0
    for data, bounds in iter_texts(store, shard.folder):
        texts = wanted[slice(*np.searchsorted(wanted, (row, row + len(bounds) - 1)))] - row
        if len(texts):
            spans = list(zip(bounds[texts].tolist(), bounds[texts + 1].tolist(), strict=True))
            chosen = data if len(texts) == len(bounds) - 1 else b"".join(data[start:end] for start, end in spans)
            offsets = np.concatenate(([0], np.cumsum(bounds[texts + 1] - bounds[texts])))
            for found in repeated_windows(chosen, offsets, window, repeated):
                found["row"] = row + texts[found["row"]]
                yield found
        row += len(bounds) - 1


def _rows_with(store: Store, shard: ShardWindows, repeated: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the participating rows that have a repeated key, ascending."""
    table = load_array(store.path(f"{STAGE}/{shard.anchors}/{ANCHORS}"), mmap_mode="r")
    rows = np.unique(table["row"][_is_in(table["key"], repeated)])
    if shard.bitmap is not None:
        rows = rows[load_array(store.path(shard.bitmap), mmap_mode="r")[rows]]
    return rows.astype(np.int64)


def _is_in(keys: NDArray[np.uint64], repeated: NDArray[np.uint64]) -> NDArray[np.bool_]:
    if not len(repeated):
        return np.zeros(len(keys), np.bool_)
    nearest = np.minimum(np.searchsorted(repeated, keys), len(repeated) - 1)
    found: NDArray[np.bool_] = repeated[nearest] == keys
    return found


def repeated_windows(
    data: bytes, bounds: NDArray[np.int64], window: int, repeated: NDArray[np.uint64]
) -> Iterator[NDArray[Any]]:
    """Yield the windows of concatenated texts that have a repeated key, WINDOW_DTYPE, in the order of their positions.

    Args:
        data: the texts.
        bounds: int64 [texts + 1]; text i is `data[bounds[i]:bounds[i + 1]]`, and its windows get the row i.
        window: bytes of a window.
        repeated: uint64, sorted.
    """
    for runs in anchored_runs(data, bounds, window):
        chosen = _is_in(runs.key, repeated)
        first, last = runs.first[chosen], runs.last[chosen]
        if not len(first):
            continue
        lengths = last - first + 1
        ends = np.cumsum(lengths)
        positions = np.arange(ends[-1]) + np.repeat(first - (ends - lengths), lengths)
        start = int(first[0])
        hashes = hashes_of_all(data[start : int(last[-1]) + window], window)
        found = np.empty(len(positions), dtype=WINDOW_DTYPE)
        found["hash"] = hashes[positions - start]
        found["row"] = np.searchsorted(bounds, positions, side="right") - 1
        found["offset"] = positions - bounds[found["row"]]
        yield found
