"""How many records the files of a source hold, where that is known without reading much."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.mixtures.blocks.source import Limits
from mixproof.pipeline.readers.jsonl import lines_of
from mixproof.pipeline.readers.remote import is_remote

from .files import InputFile
from .formats import TREES

MOST_BYTES = {None: 64_000_000, "gz": 16_000_000, "zst": 16_000_000}
"""Bytes of JSON lines that are read to count them, by compression: about 0.1 s."""
MOST_PARQUET_FILES = 200


def most_records(files: Sequence[InputFile], limits: Limits) -> int | None:
    """Return the number of records in the files, blank lines left out; None if it takes long to find out.

    Rejected records and those that steps drop are counted, so a build has at most as many documents.
    """
    formats = {file.format for file in files}
    if formats <= TREES:
        return len(files)
    if any(is_remote(file.url) for file in files):
        return None
    if formats == {"parquet"} and len(files) <= MOST_PARQUET_FILES:
        return _rows(files)
    is_small = sum(file.bytes / MOST_BYTES[file.compression] for file in files) <= 1
    if formats != {"jsonl"} or not is_small:
        return None
    lines = (line for file in files for line in lines_of(file.url, file.compression, 0, file.bytes, limits))
    return sum(line is None or bool(line.strip()) for line in lines)


def _rows(files: Sequence[InputFile]) -> int | None:
    try:
        return sum(int(pq.read_metadata(Path(file.url)).num_rows) for file in files)
    except (pa.ArrowException, OSError):  # reported where it is read
        return None
