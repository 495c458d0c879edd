"""Parquet: one column of texts, by row groups, streamed in batches of rows.

A byte range owns the row groups that start in it, where starts are taken as the running sum of the groups'
compressed sizes, so the plan needs no look into the file. pyarrow opens invalid UTF-8 and fails only when a value
is taken out, so each batch is validated and, where that fails, taken apart value by value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.errors import DamagedFileError, RequestError

from .raw import local_copy
from .record import Raw, Records, Reject, detail_of, id_of, text_fault

BATCH_ROWS = 128
"""Few, so that their buffers are taken from memory that is warm: twice as fast as 1,024 rows of long texts."""


def read_parquet(url: str, start: int, end: int, *, text: str, id_: str, with_fields: bool) -> Records:
    """Yield the rows of the row groups that start in the bytes [start, end).

    Raises:
        DamagedFileError: no Parquet, a truncated one, or a page that cannot be read.
        RequestError: when the file has no column `text`.
    """
    with local_copy(url) as path:
        try:
            file = pq.ParquetFile(path, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise DamagedFileError(url, "footer", f"not a whole Parquet file: {first_line(error)}") from error
        with file:
            names = file.schema_arrow.names
            if text not in names:
                raise RequestError(f"{url}: there is no column {text!r}; the columns are {', '.join(names)}")
            columns = names if with_fields else [column for column in (text, id_) if column in names]
            record = 0
            for group in _owned(file.metadata, start, end):
                for batch in _batches(file, group, columns, url):
                    yield from batch_rows(batch, record, text, id_, with_fields)
                    record += batch.num_rows


def _owned(metadata: Any, start: int, end: int) -> list[int]:  # noqa: ANN401 - pyarrow ships no types
    owned, offset = [], 0
    for index in range(metadata.num_row_groups):
        if start <= offset < end:
            owned.append(index)
        group = metadata.row_group(index)
        offset += sum(group.column(column).total_compressed_size for column in range(group.num_columns))
    return owned


def _batches(file: Any, group: int, columns: list[str], url: str) -> Iterator[Any]:  # noqa: ANN401 - as above
    rows = 0
    try:
        for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
            rows += batch.num_rows
            yield batch
    except (pa.ArrowException, OSError) as error:
        raise DamagedFileError(
            url, f"row group {group}, after {rows} of its rows", f"cannot be read: {first_line(error)}"
        ) from error


def batch_rows(batch: Any, first: int, text: str, id_: str, with_fields: bool) -> Records:  # noqa: ANN401 - as above
    """Yield the records of a batch of rows, whose first has the place `first`."""
    texts = _values(batch.column(text))
    ids = _values(batch.column(id_)) if id_ in batch.schema.names else [None] * len(texts)
    others = [column for column in batch.schema.names if with_fields and column != text]
    fields = list(zip(*(_values(batch.column(column)) for column in others), strict=True)) if others else []
    for row, value in enumerate(texts):
        record_id = ids[row]
        if isinstance(value, bytes) or isinstance(record_id, bytes):
            reason: str | None = "invalid_utf8"
        elif value and type(value) is str:
            reason = None  # decoded from UTF-8, so it holds no lone surrogate that would have to be looked for
        else:
            reason = text_fault(value)
        if reason is not None:
            yield Reject(first + row, None, reason, detail_of(value if isinstance(value, bytes) else repr(value)))
            continue
        entry = dict(zip(others, fields[row], strict=True)) if others else {}
        yield Raw(first + row, id_of(record_id), value, entry if with_fields else None)


def _values(column: Any) -> list[Any]:  # noqa: ANN401 - as above
    """Python values of a column; strings that are not valid UTF-8 stay bytes, binary columns count as strings."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if not (_is_text(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        values: list[Any] = column.to_pylist()
        return values
    if _is_text(kind):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            column = column.cast(pa.large_binary())
        else:
            return list(column.to_pylist())
    return [_decoded(value) for value in column.to_pylist()]


def _is_text(kind: Any) -> bool:  # noqa: ANN401 - as above
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _decoded(value: bytes | None) -> str | bytes | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def first_line(error: BaseException) -> str:
    """Shorten Arrow's messages, which may hold a page of schema."""
    return str(error).partition("\n")[0]
