"""Components grown together from many forests: by hand, and in parts against all rows at once."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mixproof.pipeline.dedup import components
from mixproof.pipeline.dedup.components import Spill, connected
from mixproof.pipeline.dedup.edges import Pairs, forest


def rows(*pairs: tuple[int, int]) -> Pairs:
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def trees_of(sources: list[Pairs], part_rows: int) -> tuple[list[list[int]], int]:
    """All rows of the trees, rising, and the number of parts; with parts of about `part_rows` rows."""
    kept = components.PART_ROWS, components.SAMPLE_EVERY, components.BLOCK_ROWS
    components.PART_ROWS, components.SAMPLE_EVERY, components.BLOCK_ROWS = part_rows, 1, 2
    try:
        with tempfile.TemporaryDirectory() as folder:
            parts = [
                found.tolist() for found in connected([partial(np.asarray, source) for source in sources], Path(folder))
            ]
            assert list(Path(folder).iterdir()) == []  # nothing is left waiting
    finally:
        components.PART_ROWS, components.SAMPLE_EVERY, components.BLOCK_ROWS = kept
    return sorted(row for part in parts for row in part), len(parts)


def test_a_chain_over_many_parts_hangs_on_its_smallest_document() -> None:
    # 9-8 and 8-5 are found in one range, 5-2 and 2-1 in another, 7-3 in both
    sources = [rows((3, 7), (5, 8), (5, 9)), rows((1, 2), (1, 5), (3, 7))]
    found, parts = trees_of(sources, part_rows=1)
    assert found == [[1, 2], [1, 5], [1, 8], [1, 9], [3, 7]]
    assert parts == 5  # every larger document begins one


def test_two_smaller_documents_that_a_later_one_connects_are_handed_down() -> None:
    found, _ = trees_of([rows((4, 9)), rows((2, 9)), rows((4, 6))], part_rows=1)
    assert found == [[2, 4], [2, 6], [2, 9]]


def test_no_rows_have_no_trees() -> None:
    assert trees_of([rows(), rows()], part_rows=1) == ([], 1)
    assert trees_of([], part_rows=1) == ([], 1)


@settings(max_examples=50)  # each example writes files
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=12), max_size=5),
    st.integers(1, 8),
)
def test_parts_of_any_size_give_what_all_rows_at_once_give(ranges: list[list[tuple[int, int]]], part_rows: int) -> None:
    sources = [forest(rows(*((one, two) for one, two in pairs if one != two))) for pairs in ranges]
    sources = [found[np.argsort(found[:, 1])] for found in sources]
    expected = forest(np.concatenate([rows(), *sources])) if sources else rows()
    assert trees_of(sources, part_rows)[0] == sorted(expected.tolist())


def test_a_spill_gives_each_part_its_rows_in_order(tmp_path: Path) -> None:
    spill = Spill(tmp_path, "rows")
    spill.add(rows((5, 6), (1, 2), (3, 4)), np.array([1, 0, 1]))
    spill.add(rows((7, 8)), np.array([1]))
    spill.add(rows(), np.array([], dtype=np.int64))
    assert spill.all(1).tolist() == [[5, 6], [3, 4], [7, 8]]
    assert spill.all(0).tolist() == [[1, 2]]
    spill.drop(1)
    assert spill.all(1).tolist() == []
