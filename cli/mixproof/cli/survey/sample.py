"""The first records of a file, and how much of the file they are."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast
from zlib import error as ZlibError  # noqa: N812  a class by a lower-case name

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from mixproof.pipeline.inputs.formats import Format

MOST_RECORDS = 100
MOST_BYTES = 4_000_000
"""Unpacked bytes that are read of one file, and of one line."""
COLUMN_BYTES = 1 << 20
"""Bytes of a Parquet column that are read at a time, however large its row group is."""
EMPTY = "empty"
TREE_BYTES = 4000
"""Bytes that are read of a file that is one document."""
DAMAGED = (EOFError, OSError, ZlibError, zstandard.ZstdError, pa.ArrowException)
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """What was read of one file."""

    records: tuple[Record, ...]
    share: float
    """How much of the file's records they are, above 0 and at most 1."""
    problem: str | None = None
    """Why the file cannot be a source's; then there are no records."""


def sample_file(path: Path, kind: Format) -> Sample:
    """Read the first records of a file; of `text` and `code` the one document that it is."""
    if path.stat().st_size == 0:
        return Sample((), 1.0, EMPTY)
    try:
        if kind == "parquet":
            return _parquet(path)
        if kind == "arrow":
            return _arrow(path)
        if kind == "jsonl":
            return _json_lines(path)
        return _document(path) if kind in ("text", "code") else Sample((), 1.0)
    except DAMAGED as error:
        return Sample((), 1.0, f"cannot be read: {str(error).splitlines()[0] if str(error) else 'it ends too early'}")


def _parquet(path: Path) -> Sample:
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=COLUMN_BYTES) as file:
        batch = next(file.iter_batches(MOST_RECORDS), None)
        records = () if batch is None else tuple(batch.to_pylist())
        return Sample(records, len(records) / max(1, file.metadata.num_rows), None if records else "no records")


def _arrow(path: Path) -> Sample:
    with pa.memory_map(str(path)) as file:
        try:
            reader = pa.ipc.open_file(file)
            batch = reader.get_batch(0) if reader.num_record_batches else None
        except pa.ArrowInvalid:
            batch = next(iter(pa.ipc.open_stream(file)), None)
        if batch is None or not batch.num_rows:
            return Sample((), 1.0, "no records")
        taken = batch.slice(0, MOST_RECORDS)
        share = min(1.0, taken.num_rows / batch.num_rows * batch.nbytes / path.stat().st_size)
        return Sample(tuple(taken.to_pylist()), share)


def _json_lines(path: Path) -> Sample:
    records: list[Record] = []
    lines = wrong = taken = 0
    with _opened(path) as (packed, file):
        while lines < MOST_RECORDS and taken < MOST_BYTES and (line := file.readline(MOST_BYTES)):
            taken += len(line)
            if not line.strip():
                continue
            lines += 1
            record = _parsed(line)
            if record is None:
                wrong += 1
            else:
                records.append(record)
        # further, because a packed file is read in blocks that hold much more than some records
        unpacked = taken + len(file.read(MOST_BYTES - min(taken, MOST_BYTES)))
        at_end = not file.read(1)
        seen = 1.0 if at_end else min(1.0, (unpacked if packed is file else packed.tell()) / path.stat().st_size)
    share = seen * taken / unpacked if unpacked else 1.0
    if wrong * 2 > lines or not records:
        return Sample((), share, "not JSON lines: one JSON object a line")
    return Sample(tuple(records), share)


def _document(path: Path) -> Sample:
    with _opened(path) as (_, file):
        data = file.read(TREE_BYTES)
    return Sample(({"text": data.decode(errors="ignore")},), min(1.0, len(data) / path.stat().st_size))


def _parsed(line: bytes) -> Record | None:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The file as it is, and unpacked."""
    with path.open("rb") as packed:
        if path.suffix.lower() == ".gz":
            with gzip.GzipFile(fileobj=packed) as unpacked:
                yield packed, cast(BinaryIO, unpacked)
        elif path.suffix.lower() == ".zst":
            with zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True, closefd=False) as reader:
                yield packed, cast(BinaryIO, io.BufferedReader(reader))
        else:
            yield packed, packed
