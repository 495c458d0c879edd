"""Arrow columns made of their buffers, and their buffers as arrays.

`pyarrow.array` asks whether what it is given is one of pandas' own, and `to_numpy` asks as well; where pandas is
installed it is imported for that question: 0.2 s in every process. Buffers ask nothing. `pyarrow.parquet.read_table`
imports pyarrow.dataset, which imports pandas as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

MOST_BYTES_OF_32_BITS = 2**31 - 1
"""What the offsets of `string` and `binary` reach to."""


def read_whole(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file, or some of its columns."""
    with pq.ParquetFile(path) as file:
        return file.read(columns)


def array_of(values: Any) -> NDArray[Any]:  # noqa: ANN401 - pyarrow ships no types
    """The numbers of a column without nulls, as they lie in memory where it is in one piece."""
    return np.from_dlpack(values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values)


def numbers(values: NDArray[Any]) -> Any:  # noqa: ANN401 - as above
    """A column of the numbers in an array, which must not change any more."""
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, data])


def flags(values: NDArray[np.bool_]) -> Any:  # noqa: ANN401 - as above
    """A column of truth values, as `Table.filter` takes it."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, _bits(values)])


def table_of(rows: Sequence[Sequence[object]], schema: Any) -> Any:  # noqa: ANN401 - as above
    """Rows, each with its values in the order of the schema's fields, as a table."""
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    return pa.table([column_of(values, field.type) for values, field in zip(columns, schema, strict=True)], schema)


def column_of(values: Sequence[Any], kind: Any) -> Any:  # noqa: ANN401 - as above
    """A column of Python's values, of nulls where they are None.

    Args:
        values: integers, strings or bytes; bytes of a string column are its UTF-8.
        kind: `int64`, `string`, `large_string` and `binary(size)` are made here; others by pyarrow, with what it loads.
    """
    there = np.fromiter((value is not None for value in values), np.bool_, len(values))
    validity = None if there.all() else _bits(there)
    if kind == pa.int64():
        data = np.fromiter((value or 0 for value in values), np.int64, len(values))
        return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(data)])
    if pa.types.is_fixed_size_binary(kind):
        missing = bytes(kind.byte_width)
        whole = b"".join(missing if value is None else value for value in values)
        assert len(whole) == len(values) * kind.byte_width, f"a value has another size than {kind}"
        return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(whole)])
    if kind not in (pa.string(), pa.large_string()):
        return pa.array(values, kind)
    encoded = [value.encode() if isinstance(value, str) else value or b"" for value in values]
    ends = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=ends[1:])
    if not pa.types.is_large_string(kind):
        if ends[-1] > MOST_BYTES_OF_32_BITS:
            return pa.array(values, kind)  # in chunks
        ends = ends.astype(np.int32)
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))])


def _bits(values: NDArray[np.bool_]) -> Any:  # noqa: ANN401 - as above
    return pa.py_buffer(np.packbits(values, bitorder="little"))
