"""The HTTP response in a WARC record: status, headers, and the body without chunks and compression.

Crawlers often decode a body and keep its headers. So a body whose first line is not a chunk size is taken as it is, and
one that does not start like gzip or zstd as uncompressed.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

import zstandard

from .first_bytes import GZIP, ZSTD
from .raw import ZSTD_FEED_BYTES
from .warc_records import parse_headers

MAX_BODY_BYTES = 128 * 1000 * 1000
"""Largest decompressed body; a decompression bomb must not exhaust the memory."""

_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})\b")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r?\n")


class BodyError(Exception):
    """A body cannot be used; `reason` is the reason under which the record is counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class Response(NamedTuple):
    """An HTTP response as the server sent it."""

    status: int
    headers: dict[str, str]
    raw_body: bytes


def parse_response(block: bytes) -> Response | None:
    """Parse a record's block; None if it is not an HTTP response."""
    status, end = _STATUS.match(block), _HEAD_END.search(block)
    if status is None:
        return None
    head, body = (block, b"") if end is None else (block[: end.start()], block[end.end() :])
    return Response(int(status[1]), parse_headers(head.partition(b"\n")[2]), body)


def body_of(response: Response) -> bytes:
    """The decoded body of a page.

    Raises:
        BodyError: reasons `malformed_http`, `truncated_body`, `body_too_large`, `content_encoding`.
    """
    body = response.raw_body
    if "chunked" in response.headers.get("transfer-encoding", "").lower():
        body = _without_chunks(body)
    encodings = [word.strip().lower() for word in response.headers.get("content-encoding", "").split(",")]
    for encoding in reversed([word for word in encodings if word not in ("", "identity")]):
        body = _decompressed(body, encoding)
    return body


def _without_chunks(body: bytes) -> bytes:
    position, parts = 0, list[bytes]()
    while True:
        found = _CHUNK.match(body, position)
        if found is None:
            if not parts:
                return body
            raise BodyError("malformed_http", f"byte {position} of the body is not a chunk size")
        size = int(found[1], 16)
        if size == 0:
            return b"".join(parts)
        end = found.end() + size
        if end > len(body):
            raise BodyError("truncated_body", f"a chunk of {size} bytes at byte {position} of {len(body)}")
        parts.append(body[found.end() : end])
        position = end + 2 if body[end : end + 2] == b"\r\n" else end + 1
        if position >= len(body):
            raise BodyError("truncated_body", "the last chunk is missing")


def _decompressed(body: bytes, encoding: str) -> bytes:
    if encoding in ("gzip", "x-gzip"):
        return _inflated(body, 31) if body.startswith(GZIP) else body
    if encoding == "deflate":
        # the standard requires zlib's header; many servers omit it
        return _inflated(body, 15 if body[:1] == b"\x78" else -15)
    if encoding == "zstd":
        return _unzstd(body) if body.startswith(ZSTD) else body
    raise BodyError("content_encoding", f"Content-Encoding {encoding[:40]!r} is not supported")


def _inflated(body: bytes, window: int) -> bytes:
    unpacked = b""
    while True:
        unpacker = zlib.decompressobj(wbits=window)
        try:
            unpacked += unpacker.decompress(body, MAX_BODY_BYTES + 1 - len(unpacked))
        except zlib.error as error:
            raise BodyError("malformed_http", f"not valid gzip or deflate: {error}") from error
        _check_size(unpacked)
        if not unpacker.eof:
            raise BodyError("truncated_body", f"a compressed body of {len(body)} bytes is truncated")
        body = unpacker.unused_data
        if window != 31 or not body.startswith(GZIP):
            return unpacked


def _unzstd(body: bytes) -> bytes:
    """Decompress all frames of a body; zstandard's `stream_reader` silently returns part of a truncated frame."""
    unpacked, position = bytearray(), 0
    while position < len(body):
        frame = zstandard.ZstdDecompressor().decompressobj()
        while not frame.eof:
            packed = body[position : position + ZSTD_FEED_BYTES]
            if not packed:
                raise BodyError("truncated_body", f"a compressed body of {len(body)} bytes is truncated")
            try:
                unpacked += frame.decompress(packed)
            except zstandard.ZstdError as error:
                raise BodyError("malformed_http", f"not valid zstd: {error}") from error
            _check_size(unpacked)
            position += len(packed) - len(frame.unused_data)
    return bytes(unpacked)


def _check_size(unpacked: bytes | bytearray) -> None:
    if len(unpacked) > MAX_BODY_BYTES:
        raise BodyError("body_too_large", f"more than {MAX_BODY_BYTES} bytes")
