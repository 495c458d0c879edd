"""The first records of local files of every format with fields, as they are before any rule is applied."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from mixproof.mixtures.blocks.source import Limits
from mixproof.pipeline.readers.arrow import read_arrow
from mixproof.pipeline.readers.batch_rows import DEFAULT_ID
from mixproof.pipeline.readers.jsonl import lines_of
from mixproof.pipeline.readers.parquet import read_parquet
from mixproof.pipeline.readers.remote import is_remote
from mixproof.pipeline.record import Raw, Records, detail_of

from .files import InputFile

MOST_FILES = 200
"""Files of a source that are opened; a plain one takes about a millisecond."""
MOST_RECORDS = 20
Row = Mapping[str, Any] | bytes
"""A record's fields, or the line of JSON if it is not an object."""


def spread(files: Sequence[InputFile]) -> list[InputFile]:
    """The first, the last and evenly spaced files that are local, at most MOST_FILES."""
    local = [file for file in files if not is_remote(file.url) and Path(file.url).is_file()]
    if len(local) <= MOST_FILES:
        return local
    return [local[index * (len(local) - 1) // (MOST_FILES - 1)] for index in range(MOST_FILES)]


def first_rows(file: InputFile, limits: Limits, most: int = MOST_RECORDS) -> list[Row]:
    """The first records of a file of JSON lines, Parquet or Arrow; blank and too long lines are left out.

    Raises:
        DamagedFileError: when the file is not in its format.
    """
    if file.format == "jsonl":
        return [_parsed(line) for line in itertools.islice(_lines(file, limits), most)]
    options: dict[str, Any] = {"text": None, "id_": DEFAULT_ID, "with_fields": True, "limits": limits}
    if file.format == "parquet":
        rows: Records = read_parquet(file.url, 0, file.bytes, **options)
    else:
        rows = read_arrow(file.url, **options)
    return [row.fields or {} for row in itertools.islice(rows, most) if isinstance(row, Raw)]


def not_objects(line: bytes) -> str:
    """What a file whose first line of JSON is not an object probably is, and what to do."""
    if line.lstrip().startswith(b"["):
        return "it is a JSON array; write one object on each line, for example with `jq -c '.[]'`"
    return f"it is not JSON lines; it starts with {detail_of(line)[:60]!r}. Set `format` to what it is"


def _lines(file: InputFile, limits: Limits) -> Iterator[bytes]:
    """The lines of a file that are neither blank nor too long."""
    for line in lines_of(file.url, file.compression, 0, file.bytes, limits):
        if line is not None and line.strip():
            yield line


def _parsed(line: bytes) -> Row:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:  # or what only the slow parser takes, which is as rare as a bad record
        return line
    return value if isinstance(value, dict) else line
