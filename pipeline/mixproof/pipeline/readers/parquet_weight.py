"""What a row group of Parquet weighs before it is read: its packed bytes, and the rows that memory allows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixproof.ledger.errors import DamagedFileError
from mixproof.mixtures.spec import Limits

from .raw import check_expansion

BATCH_ROWS = 128
"""Few, so that their buffers are taken from memory that is warm: twice as fast as 1,024 rows of long texts."""
BATCH_BYTES = 128 * 1000 * 1000
"""Of a batch, as far as its dictionaries can tell."""


def weigh(
    path: Path,
    metadata: Any,  # noqa: ANN401 - pyarrow ships no types
    group: int,
    columns: Sequence[str],
    limits: Limits,
    url: str,
) -> tuple[int, int]:
    """(packed bytes of the columns in a row group, rows that may be taken at a time).

    A value of a dictionary stands in as many rows as name it, so a group may be far larger than it says. No value
    is larger than its dictionary, whose size its page states; that bounds what a batch of rows can hold.

    Raises:
        DamagedFileError: when the footer names what cannot be, or a group that unpacks to more than `limits` allow.
    """
    try:
        packed, declared, largest = _sizes(path, metadata.row_group(group), columns)
    except (UnicodeDecodeError, OSError) as error:  # a column's name, a page before the file's start
        raise DamagedFileError(url, f"footer, row group {group}", f"not a whole Parquet file: {error}") from error
    check_expansion(packed, declared, limits, f"{url}: row group {group}", "as its footer says")
    return packed, max(1, min(BATCH_ROWS, BATCH_BYTES // largest))


def _sizes(path: Path, group: Any, columns: Sequence[str]) -> tuple[int, int, int]:  # noqa: ANN401 - as above
    """Packed and unpacked bytes of the columns, and the most that one value can have."""
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
        if "DELTA_BYTE_ARRAY" in column.encodings:  # a value holds the start of the one before
            largest = max(largest, column.total_uncompressed_size)
    return packed, declared, largest


def _dictionary_bytes(path: Path, offset: int) -> int:
    """Unpacked size of a page from its header: Thrift's compact form, where the first two fields are type and size."""
    with path.open("rb") as file:
        file.seek(offset)
        head = file.read(16)
    place = 1  # behind the field's own byte
    for _ in range(2):
        shift = value = 0
        while place < len(head):
            value |= (head[place] & 0x7F) << shift
            shift += 7
            place += 1
            if head[place - 1] < 0x80:
                break
        place += 1
    return value >> 1  # zigzag; sizes are not negative
