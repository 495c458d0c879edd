"""Keep-bitmaps: which rows of a shard's `documents.parquet` a stage keeps.

A bitmap is a numpy bool array with one entry per row, saved with `np.save`: one byte per document, 1 MB per million.
Stages pass bitmaps to each other instead of copies of the text. A shard from which no stage has dropped anything has
the bitmap None, which means all rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.store import Receipt, Store

from .load_array import load_array

BITMAP = "keep.npy"


@dataclass(frozen=True)
class Bitmap:
    """A saved bitmap, identified by path and content."""

    path: str
    """Relative to the store."""
    sha256: str
    kept: int
    """Number of rows that are True."""


KeepBitmaps = Mapping[str, tuple[Bitmap | None, ...]]
"""For each source one bitmap per shard, in the order of its shards; None keeps all rows."""


def save_bitmap(path: Path, keep: NDArray[np.bool_]) -> None:
    """Write `keep`, bool [rows], to a local path, usually inside an attempt."""
    with path.open("wb") as file:
        np.save(file, np.ascontiguousarray(keep, dtype=np.bool_), allow_pickle=False)


def bitmap_of(receipt: Receipt, kept: int, name: str = BITMAP) -> Bitmap:
    """Return the bitmap that a finished output holds under `name`."""
    return Bitmap(path=f"{receipt.folder}/{name}", sha256=receipt.files[name].sha256, kept=kept)


def read_bitmap(store: Store, bitmap: Bitmap | None, rows: int | None = None) -> NDArray[np.bool_]:
    """Read a bitmap, bool [rows]; None gives all True.

    Raises:
        ValueError: when `bitmap` is None and `rows` is not given.
        DamagedFileError: when the array does not have the number of rows, or of kept rows, that was recorded.
    """
    if bitmap is None:
        if rows is None:
            raise ValueError("bitmap None keeps all rows, so the number of rows must be given")
        return np.ones(rows, dtype=np.bool_)
    keep: NDArray[np.bool_] = load_array(store.open(bitmap.path), name=store.location(bitmap.path))
    if keep.dtype != np.bool_ or keep.ndim != 1 or (rows is not None and len(keep) != rows):
        raise DamagedFileError(bitmap.path, "header", f"expected bool [{rows}], found {keep.dtype} {list(keep.shape)}")
    if int(keep.sum()) != bitmap.kept:
        raise DamagedFileError(bitmap.path, "content", f"expected {bitmap.kept} kept rows, found {int(keep.sum())}")
    return keep
