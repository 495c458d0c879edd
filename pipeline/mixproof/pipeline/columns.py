"""Build Arrow columns from raw buffers, and view columns as numpy arrays, without importing pandas.

`pyarrow.array` and `to_numpy` check whether their input is a pandas object, and import pandas for it where it is
installed: 0.2 s in every process. Building from buffers avoids that. So does `ParquetFile`, unlike
`pyarrow.parquet.read_table`, which imports pandas through pyarrow.dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

MAX_INT32_OFFSET = 2**31 - 1
"""Largest offset in a `string` or `binary` column, in bytes."""


def read_whole(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a whole Parquet file, or some of its columns."""
    with pq.ParquetFile(path) as file:
        return file.read(columns)


def array_of(values: Any) -> NDArray[Any]:  # noqa: ANN401 - pyarrow ships no types
    """View a numeric column without nulls as an array; no copy is made if it has a single chunk."""
    return np.from_dlpack(values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values)


def numbers(values: NDArray[Any]) -> Any:  # noqa: ANN401 - as above
    """Make a column from a numeric array, whose memory it shares: the array must not be modified afterwards."""
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, data])


def flags(values: NDArray[np.bool_]) -> Any:  # noqa: ANN401 - as above
    """Make a boolean column, for example a mask for `Table.filter`."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, _bits(values)])


def table_of(rows: Sequence[Sequence[object]], schema: Any) -> Any:  # noqa: ANN401 - as above
    """Make a table from rows whose values are in the order of the schema's fields."""
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    return pa.table([column_of(values, field.type) for values, field in zip(columns, schema, strict=True)], schema)


def column_of(values: Sequence[Any], kind: Any) -> Any:  # noqa: ANN401 - as above
    """Make a column from Python values; None becomes null.

    Args:
        values: integers, strings or bytes; in a string column, bytes are taken as UTF-8.
        kind: `int64`, `bool`, `string`, `large_string` and `binary(size)` are built from buffers, others by
            `pyarrow.array`.
    """
    is_valid = np.fromiter((value is not None for value in values), np.bool_, len(values))
    validity = None if is_valid.all() else _bits(is_valid)
    if kind == pa.int64():
        data = np.fromiter((value or 0 for value in values), np.int64, len(values))
        return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(data)])
    if kind == pa.bool_():
        data = _bits(np.fromiter((bool(value) for value in values), np.bool_, len(values)))
        return pa.Array.from_buffers(kind, len(values), [validity, data])
    if pa.types.is_fixed_size_binary(kind):
        missing = bytes(kind.byte_width)
        whole = b"".join(missing if value is None else value for value in values)
        assert len(whole) == len(values) * kind.byte_width, f"a value does not have the size of {kind}"
        return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(whole)])
    if kind not in (pa.string(), pa.large_string()):
        return pa.array(values, kind)
    encoded = [value.encode() if isinstance(value, str) else value or b"" for value in values]
    ends = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=ends[1:])
    if not pa.types.is_large_string(kind):
        if ends[-1] > MAX_INT32_OFFSET:
            return pa.array(values, kind)  # chunked
        ends = ends.astype(np.int32)
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))])


def _bits(values: NDArray[np.bool_]) -> Any:  # noqa: ANN401 - as above
    return pa.py_buffer(np.packbits(values, bitorder="little"))
