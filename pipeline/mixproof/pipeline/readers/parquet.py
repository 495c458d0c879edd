"""Parquet: one column of texts, by row groups, streamed in batches of rows.

A byte range owns the row groups that start in it, where starts are taken as the running sum of the groups'
compressed sizes, so the plan needs no look into the file. pyarrow opens invalid UTF-8 and fails only when a value
is taken out, so each batch is validated and, where that fails, taken apart value by value. Texts are handed on as
UTF-8, which is what is hashed and written; strings are made of them only for steps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.mixtures.spec import Limits, Source
from mixproof.pipeline.record import Raw, Records, Reject, detail_of, field_of, id_of, text_fault

from .parquet_weight import weigh
from .raw import NO_OTHER_LIMITS, check_expansion, fetch, local_copy, sparse_copy
from .remote import is_chain, is_remote, stat_of

_NO_PYTHON_VALUE = (ArithmeticError, ValueError, LookupError, pa.ArrowException)
DEFAULT_ID = str(Source.model_fields["id"].default)
"""The column that the id is looked for in where the spec names none, and that need not be there."""
TAIL_BYTES = 8
"""A Parquet file ends with 4 bytes of the footer's length and 4 of magic."""


def read_parquet(
    url: str, start: int, end: int, *, text: str, id_: str, with_fields: bool, limits: Limits = NO_OTHER_LIMITS
) -> Records:
    """Yield the rows of the row groups that start in the bytes [start, end).

    Raises:
        DamagedFileError: no Parquet, a truncated one, or a page that cannot be read.
        RequestError: when the file has no column `text`, or two columns of a name.
    """
    with _copy(url, start, end) as path, _open(path, url) as file:
        columns = columns_of(names_of(file.schema_arrow, url), text, id_, url, with_fields=with_fields)
        record = 0
        for group in _owned(file.metadata, start, end):
            packed, rows = weigh(path, file.metadata, group, columns, limits, url)
            given = 0
            try:
                for batch in _batches(file, group, columns, rows, url):
                    texts = texts_of(batch.column(text))
                    given += bytes_of(texts)
                    check_expansion(packed, given, limits, url, f"row group {group}")
                    yield from batch_rows(batch, texts, record, text, id_, with_fields)
                    record += batch.num_rows
                    del batch, texts  # before the next is read, which takes their memory while it is warm
            except pa.ArrowException as error:  # a row names a value that its dictionary has not
                raise DamagedFileError(
                    url, f"row group {group}, from row {record} on", f"cannot be read: {first_line(error)}"
                ) from error


def names_of(schema: Any, url: str) -> list[str]:  # noqa: ANN401 - pyarrow ships no types
    """Names of the columns, which pyarrow decodes only when they are asked for.

    Raises:
        DamagedFileError: when one is not valid UTF-8.
    """
    try:
        return list(schema.names)
    except UnicodeDecodeError as error:
        raise DamagedFileError(url, "schema", f"the name of a column is not valid UTF-8: {error}") from error


def columns_of(names: list[str], text: str, id_: str, url: str, *, with_fields: bool) -> list[str]:
    """Columns that are read: those of text and id, or all.

    Raises:
        RequestError: when there is no column `text`, none of the `id` that was asked for, or two of one name.
    """
    if text not in names:
        raise RequestError(f"{url}: there is no column {text!r}; the columns are {', '.join(names)}")
    id_column = _id_column(names, id_)
    if id_column is None and id_ != DEFAULT_ID:
        raise RequestError(f"{url}: there is no column {id_!r} for the id; the columns are {', '.join(names)}")
    columns = names if with_fields else [column for column in names if column in (text, id_column)]
    for column in columns:
        if names.count(column) > 1:
            raise RequestError(f"{url}: {names.count(column)} columns have the name {column!r}; give each its own")
    return columns


def _id_column(names: Sequence[str], id_: str) -> str | None:
    """The column that holds the id: of its whole name, else that of the struct which its first part names."""
    first = id_.partition(".")[0]
    return next((name for name in (id_, first) if name in names), None)


@contextmanager
def _copy(url: str, start: int, end: int) -> Iterator[Path]:
    """A local path with the footer and the row groups of [start, end); of a remote file nothing else is fetched."""
    apart = is_remote(url) and not is_chain(url)
    size = stat_of(url)[0] if apart else 0
    if not apart or (start == 0 and end >= size):
        with local_copy(url) as path:
            yield path
        return
    with sparse_copy(size) as (path, copy):
        fetch(url, max(0, size - TAIL_BYTES), size, copy)
        footer_bytes = _footer_bytes(path)
        fetch(url, max(0, size - TAIL_BYTES - footer_bytes), size, copy)
        with _open(path, url) as file:
            for first, last in _spans(file.metadata, _owned(file.metadata, start, end)):
                fetch(url, first, last, copy)
        yield path


def _open(path: Path, url: str) -> Any:  # noqa: ANN401 - pyarrow ships no types
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: the name of a nested column
        raise DamagedFileError(url, "footer", f"not a whole Parquet file: {first_line(error)}") from error


def _owned(metadata: Any, start: int, end: int) -> list[int]:  # noqa: ANN401 - pyarrow ships no types
    owned, offset = [], 0
    for index in range(metadata.num_row_groups):
        if start <= offset < end:
            owned.append(index)
        group = metadata.row_group(index)
        offset += sum(group.column(column).total_compressed_size for column in range(group.num_columns))
    return owned


def _spans(metadata: Any, groups: list[int]) -> Iterator[tuple[int, int]]:  # noqa: ANN401 - as above
    """Where the bytes of row groups lie in the file."""
    for index in groups:
        group = metadata.row_group(index)
        columns = [group.column(number) for number in range(group.num_columns)]
        # a dictionary page stands before the data pages; 0 where there is none
        starts = [column.dictionary_page_offset or column.data_page_offset for column in columns]
        ends = [first + column.total_compressed_size for first, column in zip(starts, columns, strict=True)]
        if columns:
            yield min(starts), max(ends)


def _footer_bytes(path: Path) -> int:
    with path.open("rb") as file:
        file.seek(-TAIL_BYTES, os.SEEK_END)
        return int.from_bytes(file.read(4), "little")


def _batches(file: Any, group: int, columns: list[str], batch_rows: int, url: str) -> Iterator[Any]:  # noqa: ANN401 - as above
    rows = 0
    try:
        for batch in file.iter_batches(batch_rows, row_groups=[group], columns=columns, use_threads=False):
            rows += batch.num_rows
            yield batch
            del batch
    except (pa.ArrowException, OSError) as error:
        raise DamagedFileError(
            url, f"row group {group}, after {rows} of its rows", f"cannot be read: {first_line(error)}"
        ) from error


def batch_rows(
    batch: Any,  # noqa: ANN401 - as above
    texts: Sequence[Any],
    first: int,
    text: str,
    id_: str,
    with_fields: bool,
) -> Records:
    """Yield the records of a batch of rows, whose first has the place `first`; `texts` by `texts_of`."""
    ids = _ids(batch, id_)
    others = [column for column in batch.schema.names if with_fields and column != text]
    fields = list(zip(*(_values(batch.column(column)) for column in others), strict=True)) if others else []
    for row, (value, record_id) in enumerate(zip(texts, ids, strict=True)):
        if type(value) is bytes and value and type(record_id) is not bytes:
            entry = dict(zip(others, fields[row], strict=True)) if others else {}
            yield Raw(first + row, id_of(record_id), value, entry if with_fields else None)
            continue
        if isinstance(value, _NotUtf8):
            reason, raw = "invalid_utf8", value.data
        elif type(value) is bytes:
            reason, raw = ("invalid_utf8", b"id: %r" % record_id) if value else ("empty_text", b"''")
        else:
            reason, raw = text_fault(value) or "text_not_string", repr(value).encode(errors="backslashreplace")
        yield Reject(first + row, None, reason, detail_of(raw))


def _ids(batch: Any, id_: str) -> list[Any]:  # noqa: ANN401 - as above
    """The rows' ids as their column has them; those of a fixed number of bytes, as a UUID's 16, in hexadecimal."""
    name = _id_column(batch.schema.names, id_)
    if name is None:
        return [None] * int(batch.num_rows)
    column = batch.column(name)
    if name != id_:
        return [field_of({name: value}, id_) for value in _values(column)]
    if pa.types.is_fixed_size_binary(column.type):
        return [None if value is None else value.hex() for value in column.to_pylist()]
    return _values(column)


@dataclass(frozen=True)
class _NotUtf8:
    """A value that should be a text."""

    data: bytes


def texts_of(column: Any) -> list[Any]:  # noqa: ANN401 - as above
    """The UTF-8 of a column's texts as it lies in Arrow's memory: strings would take half of a reader's time."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _by_name(column, texts_of)
    if not _is_text(kind) and not _is_binary(kind):
        return _python_values(column)
    if pa.types.is_string(kind):
        values = column.view(pa.binary()).to_pylist()
    else:
        values = column.cast(pa.large_binary()).to_pylist()
    if _is_text(kind) and _is_valid(column):
        return list(values)
    return [value if value is None or _is_utf8(value) else _NotUtf8(value) for value in values]


def bytes_of(texts: Iterable[Any]) -> int:
    """Bytes of what `texts_of` gave."""
    return sum(len(text) for text in texts if type(text) is bytes)


def _values(column: Any) -> list[Any]:  # noqa: ANN401 - as above
    """Python values of a column; strings that are not valid UTF-8 stay bytes, binary columns count as strings."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _by_name(column, _values)
    if not _is_text(kind) and not _is_binary(kind):
        return _python_values(column)
    if _is_text(kind):
        if _is_valid(column):
            return list(column.to_pylist())
        column = column.cast(pa.large_binary())
    return [value.decode() if value is not None and _is_utf8(value) else value for value in column.to_pylist()]


def _python_values(column: Any) -> list[Any]:  # noqa: ANN401 - as above
    """Python values of any column; what Python cannot hold as Arrow spells it, and None where it does not either.

    Such are dates beyond the year 9999, times in a zone that nobody knows, invalid UTF-8 inside a struct.
    """
    try:
        return list(column.to_pylist())
    except _NO_PYTHON_VALUE:
        return [_python_value(value) for value in column]


def _python_value(value: Any) -> object:  # noqa: ANN401 - as above
    with suppress(*_NO_PYTHON_VALUE):
        return value.as_py()
    with suppress(*_NO_PYTHON_VALUE):
        return value.cast(pa.string()).as_py()
    return None


def _by_name(column: Any, values_of: Callable[[Any], list[Any]]) -> list[Any]:  # noqa: ANN401 - as above
    """Values of a dictionary column, each made once, however many rows name it."""
    named = pc.drop_null(pc.unique(column.indices))
    values = dict(zip(named.to_pylist(), values_of(column.dictionary.take(named)), strict=True))
    return [None if index is None else values[index] for index in column.indices.to_pylist()]


def _is_text(kind: Any) -> bool:  # noqa: ANN401 - as above
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_binary(kind: Any) -> bool:  # noqa: ANN401 - as above
    views_and_fixed = pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or views_and_fixed)


def _is_valid(column: Any) -> bool:  # noqa: ANN401 - as above
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def first_line(error: BaseException) -> str:
    """Shorten Arrow's messages, which may hold a page of schema."""
    return str(error).partition("\n")[0]
