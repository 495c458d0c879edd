r"""JSON lines: one object per line, by byte range, at about the speed of orjson.

A range owns the lines that start in it, so the ranges of a file yield every line exactly once. Lines end with `\n`; a
`\r` before it is white space. A byte order mark at the start of the file is skipped. Lone surrogates in fields other
than the text are accepted; orjson refuses such lines, so Python's parser reads them. A line with a number beyond the
range of a double (`1e999`) is invalid, like one with NaN, because it would be read as infinity. Numbers that name
something, as an id or the value of a split column, are taken as they are spelled, also beyond 64 bits.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any, NoReturn

import orjson

from mixproof.mixtures.blocks.source import Limits
from mixproof.pipeline.record import BLANK, Raw, Records, Reject, detail_of, field_of, id_of, text_fault

from .first_bytes import check_json_lines
from .raw import NO_OTHER_LIMITS, blocks_from, local_copy, unpacked_blocks

BOM = b"\xef\xbb\xbf"
_BOMS = re.compile(rb"(?:\xef\xbb\xbf)+")


def read_jsonl(
    url: str,
    compression: str | None,
    start: int,
    end: int,
    *,
    text: str | None,
    id_: str,
    with_fields: bool,
    exact: str | None = None,
    limits: Limits = NO_OTHER_LIMITS,
) -> Records:
    """Yield the records of the bytes [start, end); a compressed file is read as a whole.

    A compressed file with `start` above 0 is a piece of a larger file, from this byte of its decompressed content on.

    Args:
        url: the file.
        compression: `gz`, `zst` or None.
        start: first byte.
        end: byte after the last.
        text: field of the text. None: records have none, and every object is one with an empty text.
        id_: field of the id.
        with_fields: whether records keep their other fields.
        exact: of those, one whose integers must be exact, also beyond 64 bits.
        limits: on lines and expansion.

    Raises:
        DamagedFileError: when a compressed file cannot be read to its end, or the file has another format.
    """
    for record, line in enumerate(lines_of(url, compression, start, end, limits)):
        if line is None:
            detail = f"more than {limits.line_bytes} bytes, the limit set by `limits: {{line_bytes: ...}}`"
            yield Reject(record, record + 1, "line_too_long", detail)
        else:
            yield _parse(record, line, text, id_, with_fields, exact)


def lines_of(url: str, compression: str | None, start: int, end: int, limits: Limits) -> Iterator[bytes | None]:
    """Yield the lines of the bytes [start, end), or of a whole compressed file; None for a line above the limit.

    Raises:
        DamagedFileError: when a compressed file cannot be read to its end, or the file has another format.
    """
    if compression is None:
        return _range_lines(url, start, end, limits)
    return _packed_lines(url, compression, limits, is_start=start == 0)


def _packed_lines(url: str, compression: str, limits: Limits, *, is_start: bool) -> Iterator[bytes | None]:
    with local_copy(url) as path, path.open("rb") as file:
        blocks = unpacked_blocks(file, compression, url, limits)
        if is_start:
            blocks = _without_bom(checked_lines(blocks, url))
        for line, _ in split_lines(blocks, limits.line_bytes):
            yield line


def checked_lines(blocks: Iterator[bytes], url: str) -> Iterator[bytes]:
    """The decompressed blocks of JSON lines.

    Raises:
        DamagedFileError: when the first of them shows another format.
    """
    first = next(blocks, b"")
    check_json_lines(first, url, unpacked=True)
    yield from _chain(first, blocks)


def _range_lines(url: str, start: int, end: int, limits: Limits) -> Iterator[bytes | None]:
    # from one byte before: a line that starts at `start` follows a newline there
    with closing(blocks_from(url, max(start - 1, 0))) as raw:
        mark = 0
        if start == 0:
            head = next(raw, b"")
            check_json_lines(head, url)
            mark = len(BOM) if head.startswith(BOM) else 0
            blocks, position = _chain(head[mark:], raw), 0
        else:
            blocks, position = _after_newline(raw, start - 1, end)
        if position >= end:
            return
        for line, length in split_lines(blocks, limits.line_bytes):
            yield line
            position, mark = position + mark + length, 0
            if position >= end:
                return


def _after_newline(blocks: Iterator[bytes], position: int, end: int) -> tuple[Iterator[bytes], int]:
    """What follows the first newline before `end`, and its position; a line may be as long as the file."""
    for block in blocks:
        found = block.find(b"\n")
        if found >= 0:
            return _chain(block[found + 1 :], blocks), position + found + 1
        position += len(block)
        if position >= end:
            break
    return iter(()), end


def _chain(first: bytes, following: Iterable[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from following


def _without_bom(blocks: Iterable[bytes]) -> Iterator[bytes]:
    head = b""
    for block in (iterator := iter(blocks)):
        head += block
        if len(head) >= len(BOM):
            yield from _chain(head.removeprefix(BOM), iterator)
            return
    yield from _chain(head.removeprefix(BOM), ())


def split_lines(
    blocks: Iterable[bytes], most_bytes: int = NO_OTHER_LIMITS.line_bytes
) -> Iterator[tuple[bytes | None, int]]:
    """Split blocks at newlines into (line, bytes with its newline); a line above the limit is yielded as None."""
    held: list[bytes] = []
    held_bytes = 0
    for block in blocks:
        lines = block.split(b"\n")
        if len(lines) > 1 and held_bytes:
            held.append(lines[0])
            first = b"".join(held)
            length = held_bytes + len(lines[0])
            yield (first if length <= most_bytes else None), length + 1
            held, held_bytes = [], 0
            del lines[0]
        for line in lines[:-1]:
            yield (line if len(line) <= most_bytes else None), len(line) + 1
        held_bytes += len(lines[-1])
        if held_bytes <= most_bytes:
            held.append(lines[-1])
        else:
            held = held[:1]
    if held_bytes:
        yield (b"".join(held) if held_bytes <= most_bytes else None), held_bytes


def _parse(
    record: int, line: bytes, text_field: str | None, id_field: str, with_fields: bool, exact: str | None
) -> Raw | Reject:
    odd = False
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        if line.startswith(BOM):  # at the start of a later line, where files were concatenated
            return _parse(record, _BOMS.sub(b"", line, count=1), text_field, id_field, with_fields, exact)
        odd = True
        value, reason = _slow_parse(line)
        if reason is not None:
            return Reject(record, record + 1, reason, detail_of(line))
    if type(value) is not dict:
        return Reject(record, record + 1, "not_an_object", detail_of(line))
    text = "" if text_field is None else value.pop(text_field, None)
    found = field_of(value, id_field)
    if type(found) is float or (type(found) is int and not found):
        found = _as_spelled(line, id_field, found)
    name = id_of(found)
    if exact is not None and type(field_of(value, exact)) is float:
        value = json.loads(line)  # orjson reads integers beyond 64 bits as floats
        value.pop(text_field, None)
    if odd or type(text) is not str or not text:
        # orjson never returns a lone surrogate, so what it parsed need not be checked
        reason = (text_fault(text) if text_field is not None else None) or (text_fault(name) if name else None)
        if reason is not None:
            return Reject(record, record + 1, reason, detail_of(line))
    return Raw(record, name, text, value if with_fields else None)


def _as_spelled(line: bytes, field: str, parsed: object) -> object:
    """A number in a field as the line spells it: `1.10`, `-0`, or an integer beyond 64 bits, which orjson rounds."""
    try:
        return field_of(json.loads(line, parse_int=str, parse_float=str), field)
    except RecursionError:  # nested more deeply than Python's parser goes, though not orjson's
        return parsed


def _slow_parse(line: bytes) -> tuple[Any, str | None]:
    """Parse a line that orjson refused: (value, None), or (None, reason to reject the line)."""
    if not line.strip():
        return None, BLANK
    try:
        decoded = line.decode()
    except UnicodeDecodeError:
        return None, "invalid_utf8"
    if "\\u" not in decoded:
        return None, "invalid_json"
    try:
        return json.loads(decoded, parse_constant=_refuse, parse_float=_finite), None
    except (ValueError, RecursionError):
        return None, "invalid_json"


def _finite(number: str) -> float:
    """A number within the range of a double: orjson refuses 1e999, and so does the slow parser."""
    value = float(number)
    return value if math.isfinite(value) else _refuse(number)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
