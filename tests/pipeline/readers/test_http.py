"""HTTP bodies: chunks and packing are taken off, and what does not unpack says why."""

from __future__ import annotations

import gzip
import hashlib
import zlib

import pytest
import zstandard

from mixproof.pipeline.readers import http
from mixproof.pipeline.readers.http import BodyError, Response, body_of, parse_response

PAGE = b"<html>page</html>" * 30
CHUNKED = b"5\r\n" + PAGE[:5] + b"\r\n" + b"%x;ext=1\r\n" % (len(PAGE) - 5) + PAGE[5:] + b"\r\n0\r\n\r\n"


def body(data: bytes, **headers: str) -> bytes:
    return body_of(Response(200, {name.replace("_", "-"): value for name, value in headers.items()}, data))


def test_a_response_is_taken_apart() -> None:
    found = parse_response(b"HTTP/1.1 404 Not Found\r\nA: b\r\nLong: c\r\n  d\r\n\r\nbody\r\n\r\nmore")
    assert found == Response(404, {"a": "b", "long": "c d"}, b"body\r\n\r\nmore")
    assert parse_response(b"HTTP/2 200\nA: b\n\nbody") == Response(200, {"a": "b"}, b"body")
    assert parse_response(b"ICY 200 OK\r\n\r\n") is None


def test_chunks_and_packings_are_taken_off() -> None:
    raw = zlib.compressobj(wbits=-15)
    assert body(PAGE) == PAGE
    assert body(CHUNKED, transfer_encoding="Chunked") == PAGE
    assert body(gzip.compress(PAGE[:9]) + gzip.compress(PAGE[9:]), content_encoding="gzip") == PAGE
    assert body(zlib.compress(PAGE), content_encoding="deflate") == PAGE
    assert body(raw.compress(PAGE) + raw.flush(), content_encoding="deflate") == PAGE
    assert body(zstandard.compress(PAGE), content_encoding="zstd") == PAGE
    packed = gzip.compress(PAGE)
    chunked = b"%x\r\n" % len(packed) + packed + b"\r\n0\r\n\r\n"
    assert body(chunked, transfer_encoding="chunked", content_encoding="gzip") == PAGE
    assert body(gzip.compress(zlib.compress(PAGE)), content_encoding="deflate, gzip") == PAGE


def test_headers_that_a_crawler_kept_after_unpacking_do_no_harm() -> None:
    assert body(PAGE, transfer_encoding="chunked", content_encoding="gzip") == PAGE


@pytest.mark.parametrize(
    ("data", "headers", "reason"),
    [
        (CHUNKED[:40], {"transfer_encoding": "chunked"}, "truncated_body"),
        (CHUNKED[:-5], {"transfer_encoding": "chunked"}, "truncated_body"),
        (CHUNKED.replace(b";ext", b"zz;ext"), {"transfer_encoding": "chunked"}, "malformed_http"),
        (gzip.compress(PAGE)[:-9], {"content_encoding": "gzip"}, "truncated_body"),
        (gzip.compress(PAGE)[:10] + b"\xff" * 40, {"content_encoding": "gzip"}, "malformed_http"),
        (b"\x28\xb5\x2f\xfdnot zstd", {"content_encoding": "zstd"}, "malformed_http"),
        (PAGE, {"content_encoding": "br"}, "content_encoding"),
        (gzip.compress(b"\0" * 5_000_000), {"content_encoding": "gzip"}, "body_too_large"),
    ],
)
def test_a_body_that_cannot_be_used_says_why(
    data: bytes, headers: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MAX_BODY_BYTES", 1_000_000)
    with pytest.raises(BodyError) as caught:
        body(data, **headers)
    assert caught.value.reason == reason


def test_a_zstd_body_that_was_cut_is_no_shorter_page() -> None:
    noise = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(31_250))
    packed = zstandard.compress(noise[:600_000]) + zstandard.compress(noise[600_000:])
    assert body(packed, content_encoding="zstd") == noise
    assert body(noise, content_encoding="zstd") == noise
    for cut in (5, 300_000, 700_000, len(packed) - 1):
        with pytest.raises(BodyError) as found:
            body(packed[:cut], content_encoding="zstd")
        assert found.value.reason == "truncated_body"


def test_a_line_without_a_colon_is_no_header_nor_is_what_goes_on_after_it() -> None:
    found = parse_response("HTTP/1.1 200 OK\r\nno header\r\n and more\r\nA: b\u0085C: d\r\n\r\n".encode())
    assert found == Response(200, {"a": "b\u0085C: d"}, b"")
