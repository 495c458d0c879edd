"""The decompressed sizes of Arrow IPC batches, read before any batch is decompressed.

pyarrow decompresses a whole batch at once. Each compressed buffer starts with its decompressed size (8 bytes, -1 if it
is not compressed). The offsets of the buffers are in the message's flatbuffer, from which the few fields needed are
parsed here (https://arrow.apache.org/docs/format/Columnar.html, `Message.fbs`). No other byte of the file is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from mixproof.ledger.errors import DamagedFileError
from mixproof.mixtures.blocks.source import Limits

from .raw import check_expansion

FILE_HEAD = 8
"""Bytes before the messages of an Arrow file: its magic, padded."""
_HEADER_TYPE, _HEADER = 1, 2
_DICTIONARY, _BATCH = 2, 3
_DICTIONARY_DATA = 1
_BUFFERS, _COMPRESSION = 2, 3


def check_bodies(path: Path, url: str, limits: Limits, *, is_file: bool) -> None:
    """Refuse a file with a message that decompresses to more than the limit on expansion allows.

    Raises:
        DamagedFileError: naming the message, also when its header cannot be parsed.
    """
    with pa.memory_map(str(path)) as source:
        source.seek(FILE_HEAD if is_file else 0)
        for number, message in enumerate(_messages(source)):
            location = f"message {number}"
            body = message.body
            try:
                unpacked = _unpacked_bytes(memoryview(message.metadata), memoryview(body) if body else memoryview(b""))
            except struct.error as error:
                raise DamagedFileError(url, location, f"its header cannot be parsed: {error}") from error
            check_expansion(0 if body is None else body.size, unpacked, limits, url, location)


def _messages(source: Any) -> Iterator[Any]:  # noqa: ANN401 - pyarrow ships no types
    """Every message up to the end mark or the first damaged one, which is reported when the batches are read."""
    reader = pa.ipc.MessageReader.open_stream(source)
    try:
        yield from reader
    except (pa.ArrowException, OSError):
        return


def _unpacked_bytes(head: memoryview, body: memoryview) -> int:
    message = _number("<I", head, 0)
    kind = _field(head, message, _HEADER_TYPE)
    header = _table(head, message, _HEADER)
    kind_of_header = 0 if kind is None else _number("<B", head, kind)
    if kind_of_header == _DICTIONARY and header is not None:
        header = _table(head, header, _DICTIONARY_DATA)
    if header is None or kind_of_header not in (_DICTIONARY, _BATCH) or _field(head, header, _COMPRESSION) is None:
        return 0
    buffers = _table(head, header, _BUFFERS)
    if buffers is None:
        return 0
    unpacked = 0
    for index in range(_number("<I", head, buffers)):
        offset, length = struct.unpack_from("<qq", head, buffers + 4 + 16 * index)
        if length:
            unpacked += max(_number("<q", body, offset), 0)
    return unpacked


def _field(head: memoryview, table: int, number: int) -> int | None:
    """Offset of a field of a flatbuffer table; None if the field is absent."""
    fields = table - _number("<i", head, table)
    slot = 4 + 2 * number
    offset = _number("<H", head, fields + slot) if slot < _number("<H", head, fields) else 0
    return table + offset if offset else None


def _table(head: memoryview, table: int, number: int) -> int | None:
    """Offset of the table or vector that a field points to."""
    field = _field(head, table, number)
    return None if field is None else field + _number("<I", head, field)


def _number(form: str, data: memoryview, offset: int) -> int:
    if offset < 0:
        raise struct.error(f"offset {offset}")
    (value,) = struct.unpack_from(form, data, offset)
    return int(value)
