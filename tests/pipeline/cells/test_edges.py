"""Bounds of quantiles, found in sorted files of shards: exactly those of all values sorted together."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mixproof.pipeline.cells.edges import quantile_keys
from mixproof.pipeline.cells.survey import number_of, sortable

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def keys(*values: float) -> NDArray[np.uint64]:
    return np.sort(sortable(np.array(values, np.float64)))


def test_four_quantiles_of_ten_values_in_three_shards_begin_at_positions_2_5_and_7() -> None:
    shards = [keys(0.9, 0.1), keys(0.5, -0.25, 0.3, 0.7), keys(0.2, 0.4, 0.6, 0.8)]
    assert [number_of(key) for key in quantile_keys(shards, 4)] == [0.2, 0.5, 0.7]


def test_equal_values_are_in_one_cell_even_if_others_are_then_empty() -> None:
    assert [number_of(key) for key in quantile_keys([keys(1, 1, 1, 1), keys(1, 2)], 3)] == [1.0, 1.0]


@given(st.lists(st.lists(FINITE), min_size=1).filter(any), st.integers(2, 7))
def test_bounds_do_not_depend_on_the_shards(shards: list[list[float]], quantiles: int) -> None:
    values = sorted(value for shard in shards for value in shard)
    found = [number_of(key) for key in quantile_keys([keys(*shard) for shard in shards], quantiles)]
    assert found == [values[k * len(values) // quantiles] for k in range(1, quantiles)]


@given(FINITE, FINITE)
def test_sortable_integers_are_in_the_order_of_their_values(one: float, other: float) -> None:
    first, second = sortable(np.array([one, other]))
    assert (first < second, first == second) == (one < other, one == other)
    assert number_of(int(first)) == one
