"""Bitmaps come back as they were saved, and damage to them is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.store import Store
from mixproof.pipeline.bitmap import BITMAP, Bitmap, bitmap_of, read_bitmap, save_bitmap


def saved(store: Store, keep: list[bool]) -> Bitmap:
    with store.attempt("dedup", "k") as attempt:
        save_bitmap(attempt.path(BITMAP), np.array(keep, dtype=np.bool_))
        return bitmap_of(attempt.commit(), sum(keep))


def test_a_bitmap_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    store = Store(tmp_path)
    bitmap = saved(store, [True, False, True])
    assert (bitmap.path, bitmap.kept) == ("dedup/k/keep.npy", 2)
    assert read_bitmap(store, bitmap).tolist() == [True, False, True]
    assert read_bitmap(store, bitmap, 3).tolist() == [True, False, True]


def test_none_keeps_all_rows(tmp_path: Path) -> None:
    assert read_bitmap(Store(tmp_path), None, 2).tolist() == [True, True]
    with pytest.raises(ValueError, match="the number of rows must be given"):
        read_bitmap(Store(tmp_path), None)


def test_a_bitmap_of_another_length_or_count_is_damage(tmp_path: Path) -> None:
    store = Store(tmp_path)
    bitmap = saved(store, [True, False, True])
    with pytest.raises(DamagedFileError, match=r"expected bool \[4\]"):
        read_bitmap(store, bitmap, 4)
    data = bytearray(store.path(bitmap.path).read_bytes())
    data[-1] = 0
    store.path(bitmap.path).write_bytes(data)
    with pytest.raises(DamagedFileError, match="expected 2 kept rows, found 1"):
        read_bitmap(store, bitmap)


class Planted:
    """Unpickling one creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_planted_array_of_objects_is_an_error_with_its_name_and_runs_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    bitmap = saved(store, [True, False])
    path = store.path(bitmap.path)
    np.save(path, np.array([Planted(tmp_path / "ran")], dtype=object), allow_pickle=True)
    for _ in range(2):
        with pytest.raises(DamagedFileError, match=rf"{path}: whole file: not an array of numbers"):
            read_bitmap(store, bitmap)
        path.write_bytes(b"")
    assert not (tmp_path / "ran").exists()
