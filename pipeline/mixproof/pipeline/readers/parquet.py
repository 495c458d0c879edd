"""Parquet: one column of texts, by row groups, streamed in batches of rows.

A byte range owns the row groups that start in it. The start of a group is the running sum of the compressed sizes of
the groups before it, so shards can be planned without opening the file. The rows of a group of more than
`LARGE_GROUP_BYTES` are taken as evenly spread over its bytes, and a range owns those that start in it. Rows before
them are decoded and skipped, at about ten times the speed at which documents are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.errors import DamagedFileError
from mixproof.mixtures.blocks.source import Limits
from mixproof.pipeline.record import Records

from .batch_rows import batch_rows, bytes_of, check_field, columns_of, first_line, texts_of
from .parquet_weight import weigh
from .raw import NO_OTHER_LIMITS, check_expansion, fetch, local_copy, sparse_copy
from .remote import is_chain, is_remote, stat_of

LARGE_GROUP_BYTES = 128 * 1000 * 1000
"""Compressed bytes above which a row group is divided: pandas and Polars write groups of some GB by default."""
READ_BYTES = 1 << 20
"""Bytes of a column that are read at a time, so that memory does not grow with the row group (`pre_buffer` would read
it as a whole)."""
TAIL_BYTES = 8
"""A Parquet file ends with 4 bytes for the footer's length and 4 bytes of magic."""


def read_parquet(
    url: str, start: int, end: int, *, text: str | None, id_: str, with_fields: bool, limits: Limits = NO_OTHER_LIMITS
) -> Records:
    """Yield the rows of the row groups that start in the bytes [start, end).

    Raises:
        DamagedFileError: not Parquet, truncated, or a page that cannot be read.
        RequestError: when the file has no column `text`, or two columns have the same name. With `text` None, records
            have no text of their own, and all columns are their fields.
    """
    with _copy(url, start, end) as path, _open(path, url) as file:
        columns = columns_of(file.schema_arrow, text, id_, url, with_fields=with_fields)
        record = 0
        for rows in owned_rows(file.metadata, start, end, LARGE_GROUP_BYTES):
            packed, batch_size = weigh(path, file.metadata, rows.group, columns, limits, url)
            given = 0
            try:
                for batch in _batches(file, rows, columns, batch_size, url):
                    texts = None if text is None else texts_of(batch.column(text))
                    given += int(batch.nbytes) if texts is None else bytes_of(texts)
                    check_expansion(packed, given, limits, url, f"row group {rows.group}")
                    yield from batch_rows(batch, texts, record, text, id_, with_fields)
                    record += batch.num_rows
                    del batch, texts  # the next batch reuses their memory while it is in cache
            except pa.ArrowException as error:  # a row refers to a value that its dictionary lacks
                raise DamagedFileError(
                    url, f"row group {rows.group}, from row {record} on", f"cannot be read: {first_line(error)}"
                ) from error


@contextmanager
def _copy(url: str, start: int, end: int) -> Iterator[Path]:
    """A local path with the footer and the row groups of [start, end); nothing else is fetched of a remote file."""
    in_ranges = is_remote(url) and not is_chain(url)
    size = stat_of(url)[0] if in_ranges else 0
    if not in_ranges or (start == 0 and end >= size):
        with local_copy(url) as path:
            yield path
        return
    with sparse_copy(size) as (path, copy):
        fetch(url, max(0, size - TAIL_BYTES), size, copy)
        footer_bytes = _footer_bytes(path)
        fetch(url, max(0, size - TAIL_BYTES - footer_bytes), size, copy)
        with _open(path, url) as file:
            groups = [rows.group for rows in owned_rows(file.metadata, start, end, LARGE_GROUP_BYTES)]
            for first, last in _spans(file.metadata, groups):
                fetch(url, first, last, copy)
        yield path


def _open(path: Path, url: str) -> Any:  # noqa: ANN401 - pyarrow ships no types
    try:
        return pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False, buffer_size=READ_BYTES)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: an invalid name of a nested column
        raise DamagedFileError(url, "footer", f"not a complete Parquet file: {first_line(error)}") from error


def check_parquet(url: str, *, text: str | None, id_: str, fields: Mapping[str, str]) -> None:
    """Check that the columns of a source are in a file of it, without reading rows.

    Args:
        url: of the file.
        text: column of the texts; None if records have none.
        id_: column or nested field of the ids.
        fields: other columns or nested fields, by the key of the spec that names them.

    Raises:
        RequestError: as `read_parquet`, and when one of the fields is missing.
        DamagedFileError: when the file is not Parquet.
    """
    with _open(Path(url), url) as file:
        columns_of(file.schema_arrow, text, id_, url, with_fields=False)
        for key, name in fields.items():
            check_field(file.schema_arrow, name, key, url)


class Rows(NamedTuple):
    """Rows [first, last) of a row group."""

    group: int
    first: int
    last: int


def owned_rows(metadata: Any, start: int, end: int, large: int) -> list[Rows]:  # noqa: ANN401 - pyarrow ships no types
    """The rows that the bytes [start, end) own; row groups of more than `large` compressed bytes are divided."""
    owned, offset = [], 0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        size = sum(group.column(column).total_compressed_size for column in range(group.num_columns))
        count = group.num_rows
        if size <= large:
            first, last = 0, count if start <= offset < end else 0
        else:
            first, last = (_rows_before(bound - offset, size, count) for bound in (start, end))
        if first < last:
            owned.append(Rows(index, first, last))
        offset += size
    return owned


def _rows_before(position: int, size: int, rows: int) -> int:
    """How many rows of a group start before this byte of it, if they are evenly spread: row r at r * size // rows."""
    return min(max(0, -(-position * rows // size)), rows)


def _spans(metadata: Any, groups: list[int]) -> Iterator[tuple[int, int]]:  # noqa: ANN401 - as above
    """First and last byte offset of each of the row groups."""
    for index in groups:
        group = metadata.row_group(index)
        columns = [group.column(number) for number in range(group.num_columns)]
        # a dictionary page precedes the data pages; its offset is 0 if there is none
        starts = [column.dictionary_page_offset or column.data_page_offset for column in columns]
        ends = [first + column.total_compressed_size for first, column in zip(starts, columns, strict=True)]
        if columns:
            yield min(starts), max(ends)


def _footer_bytes(path: Path) -> int:
    with path.open("rb") as file:
        file.seek(-TAIL_BYTES, os.SEEK_END)
        return int.from_bytes(file.read(4), "little")


def _batches(file: Any, rows: Rows, columns: list[str], batch_size: int, url: str) -> Iterator[Any]:  # noqa: ANN401 - as above
    """The batches of some rows of a group."""
    row = 0
    try:
        for batch in file.iter_batches(batch_size, row_groups=[rows.group], columns=columns, use_threads=False):
            skipped = max(0, rows.first - row)
            row += batch.num_rows
            if skipped < batch.num_rows:
                yield batch.slice(skipped, rows.last - (row - batch.num_rows) - skipped)
            del batch
            if row >= rows.last:
                return
    except (pa.ArrowException, OSError) as error:
        raise DamagedFileError(
            url, f"row group {rows.group}, after {row} of its rows", f"cannot be read: {first_line(error)}"
        ) from error
