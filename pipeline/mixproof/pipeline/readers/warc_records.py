r"""WARC framing: records with their headers and blocks, from a stream of bytes, in bounded memory.

A record is `WARC/1.x`, headers, an empty line, `Content-Length` bytes and two line ends (ISO 28500). A record with
another structure is malformed, and reading resumes at the next line that starts with `WARC/1.` or `WARC/0.`, so a bad
header costs one record. A file that ends inside a record is truncated, which is an error: what is missing is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mixproof.ledger.errors import DamagedFileError
from mixproof.pipeline.record import detail_of

from .pieces import PieceSink

MAX_HEAD_BYTES = 1 << 16
MAX_BLOCK_BYTES = 128 * 1000 * 1000
"""Larger blocks are skipped and counted as `record_too_large`; they are downloads, not pages."""
MAX_LENGTH_DIGITS = 18
"""Longest Content-Length in digits; no file is larger."""

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_LINE_ENDS = re.compile(rb"[\r\n]+")
_NEXT = re.compile(rb"\nWARC/[01]\.")
_NEXT_BYTES = 8


class WarcRecord(NamedTuple):
    """One record of a WARC file."""

    headers: dict[str, str]
    """By lower-case name; of repeated headers, the last."""
    block: bytes | None
    """None if it is larger than the limit."""


class Malformed(NamedTuple):
    """Bytes that are not a record; reading resumes after them."""

    detail: str


def split_records(blocks: Iterable[bytes], name: str, *, is_start: bool = True) -> Iterator[WarcRecord | Malformed]:
    """Split the bytes of a WARC file into its records.

    Args:
        blocks: the bytes, from the start of the file or from the end of a record on.
        name: of the file, for errors.
        is_start: whether they are from the start of the file, so that they must hold a record.

    Raises:
        DamagedFileError: when the file ends inside a record, or holds no record at all.
    """
    yield from _split(_Buffer(blocks), name, is_start=is_start)


def copy_records(blocks: Iterable[bytes], name: str, out: PieceSink, piece_bytes: int) -> None:
    """Copy the bytes of a WARC file to `out`, divided behind records into pieces of at least `piece_bytes`.

    Raises:
        DamagedFileError: as in `split_records`.
    """
    held, copied = bytearray(), 0

    def copy_finished() -> None:
        nonlocal copied
        if ready := buffer.position - copied:
            out.write(bytes(held[:ready]))
            del held[:ready]
            copied += ready

    def pulled() -> Iterator[bytes]:
        for block in blocks:
            copy_finished()
            held.extend(block)
            yield block

    buffer = _Buffer(pulled())
    for item in _split(buffer, name, is_start=True):
        copy_finished()
        if not isinstance(item, Malformed) and out.length >= piece_bytes:
            out.end_piece()
    copy_finished()


def _split(buffer: _Buffer, name: str, *, is_start: bool) -> Iterator[WarcRecord | Malformed]:
    sound = malformed = 0
    while buffer.skip_line_ends():
        item = _next_record(buffer, f"record {sound + malformed}", name)
        if isinstance(item, Malformed):
            malformed += 1
            buffer.skip_to_next()
        else:
            sound += 1
        yield item
    if malformed and not sound and is_start:
        raise DamagedFileError(name, "offset 0", "the file holds no WARC record")


def parse_headers(head: bytes) -> dict[str, str]:
    """Parse the `Name: value` lines of WARC and HTTP; a line that starts with white space continues the one before."""
    headers: dict[str, str] = {}
    name = ""
    for line in head.decode(errors="replace").split("\n"):  # `splitlines` would also split at U+0085 and others
        if line[:1] in (" ", "\t") and name:
            headers[name] += " " + line.strip()
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower() if colon else ""
        if name:
            headers[name] = value.strip()
    return headers


def _next_record(buffer: _Buffer, location: str, name: str) -> WarcRecord | Malformed:
    buffer.fill(MAX_HEAD_BYTES)
    held = buffer.held
    found = _HEAD_END.search(held, 0, MAX_HEAD_BYTES)
    if not held.startswith((b"WARC/1.", b"WARC/0.")) or found is None:
        if found is None and buffer.ended and held.startswith(b"WARC/") and _NEXT.search(held) is None:
            raise DamagedFileError(name, location, "the file ends inside a WARC header, so it is truncated")
        return Malformed(detail_of(bytes(held[:800])))
    version, _, lines = bytes(held[: found.start()]).partition(b"\n")
    headers = parse_headers(lines)
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit() and len(length) <= MAX_LENGTH_DIGITS):
        return Malformed(detail_of(version + b"\n" + lines))
    start, end = found.end(), found.end() + int(length)
    if end - start > MAX_BLOCK_BYTES:
        if not buffer.skip(end):
            raise DamagedFileError(name, location, f"the file ends inside a WARC record of {length} bytes")
        return WarcRecord(headers, None)
    buffer.fill(end + 2 * _NEXT_BYTES)
    whole = len(held) >= end
    after = bytes(held[end : end + 2 * _NEXT_BYTES])
    if not whole and _NEXT.search(held, start) is None:
        raise DamagedFileError(name, location, f"the file ends inside a WARC record of {length} bytes: it is truncated")
    # two line ends, or the variants that many writers use
    if not whole or not (after.startswith(b"\r\n\r\n") or b"WARC/".startswith(after.lstrip(b"\r\n")[:5])):
        return Malformed(detail_of(version + b"\n" + lines))
    block = bytes(held[start:end])
    buffer.skip(end)
    return WarcRecord(headers, block)


class _Buffer:
    """The bytes that were read and not yet consumed."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self.held = bytearray()
        self.ended = False
        self.position = 0
        """Bytes consumed so far."""

    def _consume(self, size: int) -> None:
        del self.held[:size]
        self.position += size

    def fill(self, size: int) -> None:
        """Hold `size` bytes, or all that remain."""
        while len(self.held) < size and not self.ended:
            block = next(self._blocks, None)
            if block is None:
                self.ended = True
            else:
                self.held += block

    def skip(self, size: int) -> bool:
        """Skip `size` bytes; return whether there were that many."""
        while size > len(self.held):
            size -= len(self.held)
            self._consume(len(self.held))
            self.fill(1)
            if not self.held:
                return False
        self._consume(size)
        return True

    def skip_line_ends(self) -> bool:
        """Skip line ends; return whether anything follows."""
        while True:
            self.fill(1)
            ends = _LINE_ENDS.match(self.held)
            self._consume(ends.end() if ends else 0)
            if self.held or self.ended:
                return bool(self.held)

    def skip_to_next(self) -> None:
        """Skip to the next line that starts a record, after the current position."""
        while True:
            self.fill(1 << 16)
            found = _NEXT.search(self.held)
            if found is not None:
                self._consume(found.start() + 1)
                return
            if self.ended:
                self._consume(len(self.held))
                return
            self._consume(max(0, len(self.held) - _NEXT_BYTES))
