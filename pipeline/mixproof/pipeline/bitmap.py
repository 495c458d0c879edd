"""Keep-bitmaps: which rows of a shard's `documents.parquet` a stage keeps.

A bitmap is a numpy bool array with one entry a row, saved with `np.save`, so a byte a document: 1 MB for a
million. Stages chain by handing on bitmaps instead of copies of text. Where no stage has dropped
anything from a shard its bitmap is None, which stands for all rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.store import Receipt, Store

BITMAP = "keep.npy"


@dataclass(frozen=True)
class Bitmap:
    """A saved bitmap, by its place and its content."""

    path: str
    """Relative to the store."""
    sha256: str
    kept: int
    """Rows that are True."""


def save_bitmap(path: Path, keep: NDArray[np.bool_]) -> None:
    """Write `keep`, bool [rows], to a local path (an attempt's)."""
    with path.open("wb") as file:
        np.save(file, np.ascontiguousarray(keep, dtype=np.bool_), allow_pickle=False)


def bitmap_of(receipt: Receipt, kept: int, name: str = BITMAP) -> Bitmap:
    """The bitmap that a finished output holds under `name`."""
    return Bitmap(path=f"{receipt.stage}/{receipt.key}/{name}", sha256=receipt.files[name].sha256, kept=kept)


def read_bitmap(store: Store, bitmap: Bitmap | None, rows: int | None = None) -> NDArray[np.bool_]:
    """Read a bitmap, bool [rows]; None gives `rows` times True.

    Raises:
        ValueError: for None without a number of rows.
        DamagedFileError: when the array is not of the size or the count that its record states.
    """
    if bitmap is None:
        if rows is None:
            raise ValueError("a bitmap of None keeps all rows: say how many there are")
        return np.ones(rows, dtype=np.bool_)
    keep: NDArray[np.bool_] = np.load(store.path(bitmap.path), allow_pickle=False)
    if keep.dtype != np.bool_ or keep.ndim != 1 or (rows is not None and len(keep) != rows):
        raise DamagedFileError(bitmap.path, "header", f"bool [{rows}] expected, found {keep.dtype} {list(keep.shape)}")
    if int(keep.sum()) != bitmap.kept:
        raise DamagedFileError(bitmap.path, "content", f"{bitmap.kept} rows kept expected, found {int(keep.sum())}")
    return keep
