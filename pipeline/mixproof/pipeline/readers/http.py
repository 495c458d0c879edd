"""The HTTP response in a WARC record: status, headers, and the body without chunks and packing.

Crawlers often unpack a body and keep its headers. So a body whose first line is no chunk size is taken as whole, and
one without the first bytes of gzip or zstd as not packed.
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
"""A body may unpack to so much, so that a bomb does not take the memory."""

_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})\b")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r?\n")


class BodyError(Exception):
    """Why a body cannot be used; `reason` is the one that is counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class Response(NamedTuple):
    """An HTTP response as it was sent."""

    status: int
    headers: dict[str, str]
    raw_body: bytes


def parse_response(block: bytes) -> Response | None:
    """Take a record's block apart; None where it is no HTTP response."""
    status, end = _STATUS.match(block), _HEAD_END.search(block)
    if status is None:
        return None
    head, body = (block, b"") if end is None else (block[: end.start()], block[end.end() :])
    return Response(int(status[1]), parse_headers(head.partition(b"\n")[2]), body)


def body_of(response: Response) -> bytes:
    """The body as its page was.

    Raises:
        BodyError: reasons `malformed_http`, `truncated_body`, `body_too_large`, `content_encoding`.
    """
    body = response.raw_body
    if "chunked" in response.headers.get("transfer-encoding", "").lower():
        body = _without_chunks(body)
    packings = [word.strip().lower() for word in response.headers.get("content-encoding", "").split(",")]
    for packing in reversed([word for word in packings if word not in ("", "identity")]):
        body = _unpacked(body, packing)
    return body


def _without_chunks(body: bytes) -> bytes:
    position, parts = 0, list[bytes]()
    while True:
        found = _CHUNK.match(body, position)
        if found is None:
            if not parts:
                return body
            raise BodyError("malformed_http", f"no chunk size at byte {position} of the body")
        size = int(found[1], 16)
        if size == 0:
            return b"".join(parts)
        end = found.end() + size
        if end > len(body):
            raise BodyError("truncated_body", f"a chunk of {size} bytes at byte {position} of {len(body)}")
        parts.append(body[found.end() : end])
        position = end + 2 if body[end : end + 2] == b"\r\n" else end + 1
        if position >= len(body):
            raise BodyError("truncated_body", "there is no last chunk")


def _unpacked(body: bytes, packing: str) -> bytes:
    if packing in ("gzip", "x-gzip"):
        return _inflated(body, 31) if body.startswith(GZIP) else body
    if packing == "deflate":
        # by the standard with zlib's header; many servers send none
        return _inflated(body, 15 if body[:1] == b"\x78" else -15)
    if packing == "zstd":
        return _unzstd(body) if body.startswith(ZSTD) else body
    raise BodyError("content_encoding", f"no reader for Content-Encoding {packing[:40]!r}")


def _inflated(body: bytes, window: int) -> bytes:
    unpacked = b""
    while True:
        unpacker = zlib.decompressobj(wbits=window)
        try:
            unpacked += unpacker.decompress(body, MAX_BODY_BYTES + 1 - len(unpacked))
        except zlib.error as error:
            raise BodyError("malformed_http", f"not valid gzip or deflate: {error}") from error
        _bounded(unpacked)
        if not unpacker.eof:
            raise BodyError("truncated_body", f"a packed body of {len(body)} bytes ends too early")
        body = unpacker.unused_data
        if window != 31 or not body.startswith(GZIP):
            return unpacked


def _unzstd(body: bytes) -> bytes:
    """All frames of a body; zstandard's `stream_reader` would give a part of a cut one without a word."""
    unpacked, place = bytearray(), 0
    while place < len(body):
        frame = zstandard.ZstdDecompressor().decompressobj()
        while not frame.eof:
            packed = body[place : place + ZSTD_FEED_BYTES]
            if not packed:
                raise BodyError("truncated_body", f"a packed body of {len(body)} bytes ends too early")
            try:
                unpacked += frame.decompress(packed)
            except zstandard.ZstdError as error:
                raise BodyError("malformed_http", f"not valid zstd: {error}") from error
            _bounded(unpacked)
            place += len(packed) - len(frame.unused_data)
    return bytes(unpacked)


def _bounded(unpacked: bytes | bytearray) -> None:
    if len(unpacked) > MAX_BODY_BYTES:
        raise BodyError("body_too_large", f"more than {MAX_BODY_BYTES} bytes")
