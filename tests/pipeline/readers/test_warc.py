"""WARC and WET: which records are documents, and why the others are none."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import pytest

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.pipeline.readers import warc_records
from mixproof.pipeline.readers.warc import read_warc, read_wet
from mixproof.pipeline.record import Raw, Reject

WORDS = "The old bridge was closed in spring, because its stones had begun to move and nobody knew why they did. " * 4


def record(kind: str, block: bytes, url: str = "http://a.example/p", **headers: str) -> bytes:
    lines = {
        "WARC-Type": kind,
        "WARC-Target-URI": url,
        "WARC-Record-ID": f"<urn:uuid:{zlib.crc32(block):08x}>",
        "WARC-Date": "2026-01-01T00:00:00Z",
        "Content-Length": str(len(block)),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return b"WARC/1.0\r\n" + head.encode() + b"\r\n" + block + b"\r\n\r\n"


def page(text: str = WORDS, charset: str = "utf-8") -> bytes:
    html = f"<html><head><title>A page</title></head><body><article><p>{text}</p><p>{text}</p></article></body></html>"
    return html.encode(charset)


def response(body: bytes, status: int = 200, kind: str = "text/html", *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status} OK", f"Content-Type: {kind}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def outcomes(path: Path, *parts: bytes, compression: str | None = None) -> list[str]:
    path.write_bytes(b"".join(parts))
    found = list(read_warc(str(path), compression, id_="id", with_fields=False))
    assert [item.record for item in found] == list(range(len(found)))
    return ["document" if isinstance(item, Raw) else item.reason for item in found]


def test_only_pages_are_documents_and_every_record_is_counted(tmp_path: Path) -> None:
    parts = [
        record("warcinfo", b"software: none\r\n", url=""),
        record("request", b"GET / HTTP/1.1\r\n\r\n"),
        record("response", response(page())),
        record("response", response(page(), 404)),
        record("response", response(b"GIF89a", 200, "image/gif")),
        record("response", response(b"<html></html>")),
        record("response", b"no HTTP at all"),
        record("response", b"20260101 example.org A 192.0.2.1", url="dns:example.org"),
        record("revisit", response(b"")),
    ]
    expected = [
        "not_a_response",
        "not_a_response",
        "document",
        "status_not_200",
        "not_html",
        "no_main_text",
        "malformed_http",
        "not_a_response",
        "not_a_response",
    ]
    assert outcomes(tmp_path / "a.warc", *parts) == expected
    members = [gzip.compress(part) for part in parts]
    assert outcomes(tmp_path / "a.warc.gz", *members, compression="gz") == expected


def test_a_page_carries_its_text_and_what_its_headers_say(tmp_path: Path) -> None:
    path = tmp_path / "a.warc"
    block = response(page(), 200, "text/html; charset=utf-8")
    path.write_bytes(record("response", block))
    (found,) = read_warc(str(path), None, id_="id", with_fields=True)
    assert isinstance(found, Raw)
    assert found.id == f"urn:uuid:{zlib.crc32(block):08x}"
    assert WORDS.strip() in found.text and "<p>" not in found.text
    assert found.fields == {
        "id": found.id,
        "url": "http://a.example/p",
        "date": "2026-01-01T00:00:00Z",
        "content_type": "text/html; charset=utf-8",
        "charset": "ascii",
    }
    (by_url,) = read_warc(str(path), None, id_="url", with_fields=False)
    assert isinstance(by_url, Raw) and (by_url.id, by_url.fields) == ("http://a.example/p", None)


def test_the_text_of_a_page_does_not_depend_on_the_pages_before_it(tmp_path: Path) -> None:
    path = tmp_path / "a.warc"
    path.write_bytes(record("response", response(page())) * 5)
    texts = [item.text for item in read_warc(str(path), None, id_="id", with_fields=False) if isinstance(item, Raw)]
    assert len(texts) == 5 and len(set(texts)) == 1


def test_a_malformed_record_costs_only_itself(tmp_path: Path) -> None:
    good = record("response", response(page()))
    bad = [
        good.replace(b"Content-Length: ", b"Content-Length: x"),
        good.replace(b"Content-Length: ", b"Content-Lenght: "),
        good.replace(b"Content-Length: ", b"Content-Length: 9"),
        record("response", response(page()), Content_Length="17"),
        b"garbage without a head\r\n\r\n",
        b"WARC/1.0\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    ]
    for part in bad:
        assert outcomes(tmp_path / "a.warc", good, part, good) == ["document", "malformed_record", "document"], part[
            :200
        ]


def test_an_id_that_no_page_has_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.warc"
    path.write_bytes(record("response", response(page())))
    for read, fields in ((read_warc, "content_type, charset"), (read_wet, "content_type")):
        with pytest.raises(
            RequestError, match=rf"no field 'uri' to use as .*; the fields are id, url, date, {fields}$"
        ):
            list(read(str(path), None, id_="uri", with_fields=False))


def test_a_length_that_no_file_has_is_malformed(tmp_path: Path) -> None:
    good = record("response", response(page()))
    for length in ("9" * 5000, "9" * 19, "-1", "1e3", "٣"):
        bad = record("response", response(page()), Content_Length=length)
        assert outcomes(tmp_path / "a.warc", good, bad, good) == ["document", "malformed_record", "document"]


def test_every_cut_of_a_warc_is_damage_unless_only_line_ends_are_missing(tmp_path: Path) -> None:
    one = record("response", response(page()))
    path = tmp_path / "cut.warc"
    for length in (5, 30, 200, len(one) - 5):
        with pytest.raises(DamagedFileError, match=r"cut\.warc: record 1: .*truncated"):
            outcomes(path, one, one[:length])
    assert outcomes(path, one, one[:-4]) == ["document", "document"]
    packed = gzip.compress(one)
    with pytest.raises(DamagedFileError, match="truncated"):
        outcomes(path, packed, packed[:-9], compression="gz")


def test_what_is_no_warc_is_damage_and_an_empty_one_has_no_records(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="no WARC record"):
        outcomes(tmp_path / "a.warc", b"filedesc://IA-001102.arc 0.0.0.0 19960923142103 text/plain 76\n")
    assert outcomes(tmp_path / "a.warc", b"") == []


def test_a_record_above_the_limit_is_passed_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warc_records, "MAX_BLOCK_BYTES", 10_000)
    good = record("response", response(page()))
    large = record("response", b"x" * 3_000_000)
    path = tmp_path / "a.warc"
    assert outcomes(path, good, large, good) == ["document", "record_too_large", "document"]
    with pytest.raises(DamagedFileError, match="ends inside"):
        outcomes(path, good, large[:-500])


def test_a_wet_gives_its_conversions_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.wet.gz"
    parts = [
        record("warcinfo", b"x", url=""),
        record("conversion", "zwölf\nlines".encode(), Content_Type="text/plain"),
        record("conversion", b"\xff\xfe"),
        record("conversion", b""),
    ]
    path.write_bytes(b"".join(gzip.compress(part) for part in parts))
    info, text, invalid, empty = read_wet(str(path), "gz", id_="url", with_fields=True)
    assert isinstance(text, Raw)
    assert (text.record, text.id, text.text) == (1, "http://a.example/p", "zwölf\nlines")
    assert text.fields is not None and text.fields["content_type"] == "text/plain"
    assert [item.reason for item in (info, invalid, empty) if isinstance(item, Reject)] == [
        "not_a_conversion",
        "invalid_utf8",
        "empty_text",
    ]
