"""Build Arrow columns from raw buffers, and view columns as numpy arrays, without importing pandas.

`pyarrow.array` and `to_numpy` check whether their input is a pandas object, and import pandas for it where it is
installed: 0.2 s in every process. Building from buffers avoids that. So does `ParquetFile`, unlike
`pyarrow.parquet.read_table`, which imports pandas through pyarrow.dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

MAX_INT32_OFFSET = 2**31 - 1
"""Largest offset in a `string` or `binary` column, in bytes."""


def read_whole(path: Path | BytesIO, columns: Sequence[str] | None = None) -> pa.Table:
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
        values: integers, strings, bytes or lists; in a string column, bytes are taken as UTF-8.
        kind: integers, `bool`, `string`, `large_string`, `binary(size)` and lists of these are built from buffers,
            others by `pyarrow.array`.
    """
    is_valid = np.fromiter((value is not None for value in values), np.bool_, len(values))
    validity = None if is_valid.all() else _bits(is_valid)
    if pa.types.is_integer(kind):
        data = np.fromiter((value or 0 for value in values), kind.to_pandas_dtype(), len(values))
        return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(data)])
    if kind == pa.bool_():
        data = _bits(np.fromiter((bool(value) for value in values), np.bool_, len(values)))
        return pa.Array.from_buffers(kind, len(values), [validity, data])
    if pa.types.is_fixed_size_binary(kind):
        missing = bytes(kind.byte_width)
        whole = b"".join(missing if value is None else value for value in values)
        assert len(whole) == len(values) * kind.byte_width, f"a value does not have the size of {kind}"
        return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(whole)])
    if pa.types.is_list(kind):
        ends = _ends([0 if value is None else len(value) for value in values])
        if ends[-1] > MAX_INT32_OFFSET:
            return pa.array(values, kind)  # chunked
        items = column_of([item for value in values if value is not None for item in value], kind.value_type)
        offsets = pa.py_buffer(ends.astype(np.int32))
        return pa.Array.from_buffers(kind, len(values), [validity, offsets], children=[items])
    if kind not in (pa.string(), pa.large_string()):
        return pa.array(values, kind)
    encoded = [value.encode() if isinstance(value, str) else value or b"" for value in values]
    ends = _ends(list(map(len, encoded)))
    if not pa.types.is_large_string(kind):
        if ends[-1] > MAX_INT32_OFFSET:
            return pa.array(values, kind)  # chunked
        ends = ends.astype(np.int32)
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))])


def _ends(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Where each value starts, and the last one ends."""
    ends = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(np.fromiter(lengths, np.int64, len(lengths)), out=ends[1:])
    return ends


def _bits(values: NDArray[np.bool_]) -> Any:  # noqa: ANN401 - as above
    return pa.py_buffer(np.packbits(values, bitorder="little"))
