"""Sizes of a Parquet row group before it is read: compressed bytes, and how many rows fit in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixproof.ledger.errors import DamagedFileError
from mixproof.mixtures.blocks.source import Limits

from .raw import check_expansion

BATCH_ROWS = 128
"""Small, so that buffers are reused while they are in cache: twice as fast as 1,024 rows of long texts."""
BATCH_BYTES = 128 * 1000 * 1000
"""Limit for a batch, by the upper bound that its dictionaries give."""


def weigh(
    path: Path,
    metadata: Any,  # noqa: ANN401 - pyarrow ships no types
    group: int,
    columns: Sequence[str],
    limits: Limits,
    url: str,
) -> tuple[int, int]:
    """Return (compressed bytes of the columns in a row group, rows to read at a time).

    Many rows may refer to one dictionary value, so a group may be far larger than its declared size. No value is larger
    than its dictionary, whose size is in its page header; that bounds the size of a batch of rows.

    Raises:
        DamagedFileError: when the footer is invalid, or a group decompresses to more than `limits` allow.
    """
    try:
        packed, declared, largest = _sizes(path, metadata.row_group(group), columns)
    except (UnicodeDecodeError, OSError) as error:  # a column's name, a page before the file's start
        raise DamagedFileError(url, f"footer, row group {group}", f"not a complete Parquet file: {error}") from error
    check_expansion(packed, declared, limits, f"{url}: row group {group}", "as its footer says")
    return packed, max(1, min(BATCH_ROWS, BATCH_BYTES // largest))


def _sizes(path: Path, group: Any, columns: Sequence[str]) -> tuple[int, int, int]:  # noqa: ANN401 - as above
    """Compressed and decompressed bytes of the columns, and the upper bound for one value."""
    packed = declared = 0
    largest = 1
    for number in range(group.num_columns):
        column = group.column(number)
        if column.path_in_schema.partition(".")[0] not in columns:
            continue
        packed += column.total_compressed_size
        declared += column.total_uncompressed_size
        if column.has_dictionary_page:
            largest = max(largest, _dictionary_bytes(path, column.dictionary_page_offset))
        if "DELTA_BYTE_ARRAY" in column.encodings:  # a value may repeat the start of the one before
            largest = max(largest, column.total_uncompressed_size)
    return packed, declared, largest


def _dictionary_bytes(path: Path, offset: int) -> int:
    """Decompressed size of a page by its header (Thrift compact protocol; the first two fields are type and size)."""
    with path.open("rb") as file:
        file.seek(offset)
        head = file.read(16)
    position = 1  # after the byte of the field header
    for _ in range(2):
        shift = value = 0
        while position < len(head):
            value |= (head[position] & 0x7F) << shift
            shift += 7
            position += 1
            if head[position - 1] < 0x80:
                break
        position += 1
    return value >> 1  # zigzag; sizes are not negative
