"""A file that is not what its name says is an error with the way out, not a few bad lines among many good ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from mixproof.ledger.errors import DamagedFileError
from mixproof.pipeline.readers.jsonl import read_jsonl
from mixproof.pipeline.record import Raw

LINES = b'{"text": "one"}\n{"text": "zwei \xc3\xbc"}\n'


def texts(path: Path, data: bytes, compression: str | None = None, start: int = 0) -> list[str]:
    path.write_bytes(data)
    found = read_jsonl(str(path), compression, start, len(data), text="text", id_="id", with_fields=False)
    return [item.text if isinstance(item, Raw) else item.reason for item in found]


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": ["a"]}), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (gzip.compress(LINES), r"offset 0: it is gzip, not JSON lines; rename it to end with \.gz"),
        (zstandard.compress(LINES), r"it is zstd.*\.zst"),
        (b"\x50\x2a\x4d\x18\x01\0\0\0x" + zstandard.compress(LINES), r"it is zstd.*\.zst"),
        (parquet(), "it is Parquet.*`format: parquet`"),
        (b"PK\x03\x04" + LINES, "it is a zip archive.*zip://"),
        (b"\xff\xfe" + LINES.decode().encode("utf-16-le"), "it is UTF-16.*iconv -f UTF-16 -t UTF-8"),
        (LINES.decode().encode("utf-32"), "it is UTF-32.*iconv -f UTF-32 -t UTF-8"),
        (LINES.replace(b"\n", b"\r"), r"its lines end with \\r alone; .*tr"),
        (LINES.replace(b"\n", b" \r\r ") * 9, r"its lines end with \\r alone"),
    ],
)
def test_what_is_no_json_lines_is_told_by_its_first_bytes(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(DamagedFileError, match=says):
        texts(tmp_path / "a.jsonl", data)


def test_what_a_packed_file_unpacks_to_is_looked_at_as_well(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="it is compressed gzip, not JSON lines; remove the outer compression"):
        texts(tmp_path / "a.jsonl.zst", zstandard.compress(gzip.compress(LINES)), "zst")
    with pytest.raises(DamagedFileError, match="it is UTF-16, not JSON lines; convert it to UTF-8"):
        texts(tmp_path / "a.jsonl.gz", gzip.compress(LINES.decode().encode("utf-16")), "gz")


def test_carriage_returns_that_end_no_line_alone_are_white_space(tmp_path: Path) -> None:
    crlf = LINES.replace(b"\n", b"\r\r\n")
    assert texts(tmp_path / "a.jsonl", crlf) == texts(tmp_path / "b.jsonl", LINES) == ["one", "zwei ü"]
    assert texts(tmp_path / "c.jsonl", b'{"parts": [{}\r,\r{}],\r"text": "one"}\r') == ["one"]


def with_dictionary(data: bytes) -> bytes:
    samples: list[bytes | bytearray | memoryview[int]] = [str(number).encode() * 9 for number in range(999)]
    return zstandard.ZstdCompressor(dict_data=zstandard.train_dictionary(2048, samples)).compress(data)


@pytest.mark.parametrize(
    ("data", "compression", "says"),
    [
        (LINES, "gz", r"not valid gz.*it looks like plain JSON: remove the ending from its name"),
        (LINES, "zst", r"not valid zst.*it looks like plain JSON"),
        (zstandard.compress(LINES), "gz", r"not valid gz.*it looks like zstd: rename it to end with \.zst"),
        (gzip.compress(LINES), "zst", r"not valid zst.*it looks like gzip: rename it to end with \.gz"),
        (b"\x07" + LINES, "gz", r"not valid gz: [^;]*$"),
        (zstandard.ZstdCompressor(write_checksum=True).compress(LINES)[:-1] + b"?", "zst", r"not valid zst: [^;]*$"),
        (gzip.compress(LINES)[:-8] + b"checksum", "gz", r"not valid gz: [^;]*$"),
        (with_dictionary(LINES), "zst", r"not valid zst: .*; it needs the dictionary \d+; decompress it with that"),
        (gzip.compress(LINES) + LINES, "gz", r"offset about \d\d: not valid gz: [^;]*$"),
    ],
)
def test_what_is_packed_otherwise_says_how(tmp_path: Path, data: bytes, compression: str, says: str) -> None:
    with pytest.raises(DamagedFileError, match=says):
        texts(tmp_path / "a", data, compression)
