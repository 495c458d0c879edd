"""Parquet: one column of texts, by row groups, streamed in batches of rows.

A byte range owns the row groups that start in it. The start of a group is the running sum of the compressed sizes of
the groups before it, so shards can be planned without opening the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.errors import DamagedFileError
from mixproof.mixtures.blocks.source import Limits
from mixproof.pipeline.record import Records

from .batch_rows import batch_rows, bytes_of, check_field, columns_of, first_line, texts_of
from .parquet_weight import weigh
from .raw import NO_OTHER_LIMITS, check_expansion, fetch, local_copy, sparse_copy
from .remote import is_chain, is_remote, stat_of

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
        for group in _owned(file.metadata, start, end):
            packed, rows = weigh(path, file.metadata, group, columns, limits, url)
            given = 0
            try:
                for batch in _batches(file, group, columns, rows, url):
                    texts = None if text is None else texts_of(batch.column(text))
                    given += int(batch.nbytes) if texts is None else bytes_of(texts)
                    check_expansion(packed, given, limits, url, f"row group {group}")
                    yield from batch_rows(batch, texts, record, text, id_, with_fields)
                    record += batch.num_rows
                    del batch, texts  # the next batch reuses their memory while it is in cache
            except pa.ArrowException as error:  # a row refers to a value that its dictionary lacks
                raise DamagedFileError(
                    url, f"row group {group}, from row {record} on", f"cannot be read: {first_line(error)}"
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
            for first, last in _spans(file.metadata, _owned(file.metadata, start, end)):
                fetch(url, first, last, copy)
        yield path


def _open(path: Path, url: str) -> Any:  # noqa: ANN401 - pyarrow ships no types
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
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


def _owned(metadata: Any, start: int, end: int) -> list[int]:  # noqa: ANN401 - pyarrow ships no types
    owned, offset = [], 0
    for index in range(metadata.num_row_groups):
        if start <= offset < end:
            owned.append(index)
        group = metadata.row_group(index)
        offset += sum(group.column(column).total_compressed_size for column in range(group.num_columns))
    return owned


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
