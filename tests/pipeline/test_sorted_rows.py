"""A range of a sorted column, at the ends of what 64 bits hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mixproof.pipeline.sorted_rows import rows_between

LAST = 2**64 - 1


def test_a_range_takes_its_first_value_and_not_its_end() -> None:
    column = np.array([0, 3, 3, 7, LAST], dtype=np.uint64)
    assert rows_between(column, 3, 7) == slice(1, 3)
    assert rows_between(column, 4, 7) == slice(3, 3)
    assert rows_between(column, 0, 1) == slice(0, 1)


def test_the_last_range_of_hashes_ends_behind_the_largest_one() -> None:
    column = np.array([0, LAST - 1, LAST, LAST], dtype=np.uint64)
    assert rows_between(column, LAST, 2**64) == slice(2, 4)
    assert rows_between(column, 2**63, 2**64) == slice(1, 4)
    assert rows_between(column[:0], 0, 2**64) == slice(0, 0)


def test_a_column_of_a_mapped_table_is_cut_like_one_in_memory(tmp_path: Path) -> None:
    table = np.zeros(1000, dtype=[("high", "<u8"), ("row", "<i8")])
    table["high"] = np.sort(np.random.default_rng(1).integers(0, LAST, len(table), dtype=np.uint64, endpoint=True))
    np.save(tmp_path / "table.npy", table)
    mapped = np.load(tmp_path / "table.npy", mmap_mode="r")
    low, high = 2**62, 2**63
    expected = table[(table["high"] >= low) & (table["high"] < high)]
    assert 100 < len(expected) < 400
    assert np.array_equal(mapped[rows_between(mapped["high"], low, high)], expected)
