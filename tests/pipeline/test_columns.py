"""Columns from buffers: what pyarrow makes of the same values, whichever are missing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.pipeline.columns import array_of, column_of, flags, numbers, table_of

INTEGERS = st.lists(st.none() | st.integers(-(2**63), 2**63 - 1))
STRINGS = st.lists(st.none() | st.text())


@given(
    INTEGERS,
    STRINGS,
    st.lists(st.none() | st.binary(min_size=4, max_size=4)),
    st.lists(st.none() | st.lists(st.none() | st.integers(-(2**31), 2**31 - 1))),
)
def test_a_column_is_what_pyarrow_makes_of_the_values(
    integers: list[int | None],
    strings: list[str | None],
    hashes: list[bytes | None],
    lists: list[list[int | None] | None],
) -> None:
    for values, kind in (
        (integers, pa.int64()),
        (strings, pa.string()),
        (strings, pa.large_string()),
        (hashes, pa.binary(4)),
        (lists, pa.list_(pa.int32())),
    ):
        made = column_of(values, kind)
        made.validate(full=True)
        assert made.equals(pa.array(values, kind))


def test_strings_may_come_as_their_utf8() -> None:
    assert column_of(["é".encode(), None, "日"], pa.large_string()).to_pylist() == ["é", None, "日"]


def test_a_value_of_another_size_is_refused() -> None:
    with pytest.raises(AssertionError, match="does not have the size of fixed_size_binary"):
        column_of([b"abc"], pa.binary(4))


@given(st.lists(st.booleans()))
def test_a_boolean_column_has_nulls(values: list[bool]) -> None:
    with_nulls = [*values, None]
    assert column_of(with_nulls, pa.bool_()).to_pylist() == with_nulls


@given(st.lists(st.booleans()))
def test_flags_filter_as_pyarrows_own(values: list[bool]) -> None:
    assert flags(np.array(values, np.bool_)).to_pylist() == values


def test_numbers_come_back_from_a_column_in_pieces_or_a_slice_of_one() -> None:
    whole = numbers(np.arange(10, dtype=np.int32))
    assert whole.type == pa.int32()
    assert array_of(whole.slice(3, 4)).tolist() == [3, 4, 5, 6]
    assert array_of(pa.chunked_array([whole.slice(8), whole.slice(0, 2)])).tolist() == [8, 9, 0, 1]
    assert array_of(pa.chunked_array([], pa.int64())).tolist() == []
    every_other = np.arange(6)[::2]
    assert array_of(numbers(every_other)).tolist() == [0, 2, 4]


def test_a_table_of_rows_has_the_columns_of_its_schema_and_none_has_none() -> None:
    schema = pa.schema([("record", pa.int64()), ("id", pa.string())])
    assert table_of([(1, "a"), (2, None)], schema).to_pylist() == [{"record": 1, "id": "a"}, {"record": 2, "id": None}]
    assert table_of([], schema).equals(schema.empty_table())
