"""Arrow IPC, as a file or as a stream: one column of texts, batch by batch from a memory map.

Both are named `.arrow`, so the first bytes decide which it is. The end mark of a stream is required, although the
format makes it optional: without it, a stream truncated between two batches looks complete. Offsets are validated
before any value is read, so that a damaged file cannot crash the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from mixproof.ledger.errors import DamagedFileError
from mixproof.mixtures.blocks.source import Limits
from mixproof.pipeline.record import Records

from .arrow_bodies import check_bodies
from .batch_rows import batch_rows, bytes_of, columns_of, first_line, texts_of
from .parquet_weight import BATCH_ROWS
from .raw import NO_OTHER_LIMITS, check_expansion, local_copy

FILE_MAGIC = b"ARROW1"
STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"


def read_arrow(url: str, *, text: str | None, id_: str, with_fields: bool, limits: Limits = NO_OTHER_LIMITS) -> Records:
    """Yield the rows of every batch.

    Raises:
        DamagedFileError: not Arrow IPC, truncated, or a batch that cannot be read.
        RequestError: when there is no column `text`, or two columns have the same name.
    """

    def columns(schema: Any) -> list[str]:  # noqa: ANN401 - pyarrow ships no types
        return columns_of(schema, text, id_, url, with_fields=with_fields)

    with local_copy(url) as path:
        record = 0
        for batch in _batches(path, url, limits, columns):
            chosen = batch.select(columns(batch.schema))
            _check(chosen, url, record)
            given, packed = 0, chosen.nbytes
            for first in range(0, chosen.num_rows, BATCH_ROWS):
                rows = chosen.slice(first, BATCH_ROWS)
                texts = None if text is None else texts_of(rows.column(text))
                given += int(rows.nbytes) if texts is None else bytes_of(texts)
                check_expansion(packed, given, limits, url, f"batch of record {record}")
                yield from batch_rows(rows, texts, record + first, text, id_, with_fields)
            record += batch.num_rows


def _batches(path: Path, url: str, limits: Limits, check: Callable[[Any], object]) -> Iterator[Any]:
    """Every batch; `check` is called with the schema first, because a file may have no batches."""
    with path.open("rb") as raw:
        is_file = raw.read(len(FILE_MAGIC)) == FILE_MAGIC
    location = "footer" if is_file else "schema"
    if path.stat().st_size:
        check_bodies(path, url, limits, is_file=is_file)
    try:
        with pa.OSFile(str(path)) if path.stat().st_size == 0 else pa.memory_map(str(path)) as source:
            if is_file:
                reader = pa.ipc.open_file(source)
                check(reader.schema)
                for index in range(reader.num_record_batches):
                    location = f"batch {index}"
                    yield reader.get_batch(index)
                return
            stream = pa.ipc.open_stream(source)
            check(stream.schema)
            for index, batch in enumerate(stream):
                location = f"after batch {index}"
                yield batch
            source.seek(source.tell() - len(STREAM_END))
            if source.read(len(STREAM_END)) != STREAM_END:
                raise DamagedFileError(url, location, "the stream has no end mark, so it may be truncated")
            if source.tell() < source.size():
                more = f"{source.size() - source.tell()} bytes follow the stream's end mark and would be lost"
                raise DamagedFileError(
                    url, location, f"{more}; if these are several streams, save each in its own file"
                )
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DamagedFileError(url, location, f"not a complete Arrow file or stream: {first_line(error)}") from error


def _check(batch: Any, url: str, record: int) -> None:  # noqa: ANN401 - pyarrow ships no types
    try:
        for column in batch.columns:
            # as bytes: invalid UTF-8 rejects one record, invalid offsets the file
            if pa.types.is_string(column.type):
                column.view(pa.binary()).validate(full=True)
            elif pa.types.is_large_string(column.type):
                column.view(pa.large_binary()).validate(full=True)
            else:
                column.validate(full=True)
    except pa.ArrowException as error:
        raise DamagedFileError(url, f"batch of record {record}", f"cannot be read: {first_line(error)}") from error
