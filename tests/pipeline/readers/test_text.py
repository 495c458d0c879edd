"""Plain text: a file is a document, packed or not."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import zstandard

from mixproof.ledger.errors import DamagedFileError
from mixproof.pipeline.readers import text
from mixproof.pipeline.readers.text import read_text
from mixproof.pipeline.record import Raw, Reject


def test_a_file_is_one_document_named_after_itself(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for compression, data in (
        (None, "\ufeffzwölf\r\nlines\n".encode()),
        ("gz", gzip.compress(b"zw\xc3\xb6lf\r\n") + gzip.compress(b"lines\n")),
        ("zst", zstandard.ZstdCompressor().compress("zwölf\r\nlines\n".encode())),
    ):
        path.write_bytes(data)
        assert read_text(str(path), compression, "d/a.txt") == Raw(0, "d/a.txt", "zwölf\r\nlines\n")


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "empty_text"), (b"\xef\xbb\xbf", "empty_text"), (b"a\xff", "invalid_utf8")]
)
def test_a_file_without_text_is_rejected(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    found = read_text(str(path), None, "a")
    assert isinstance(found, Reject) and (found.record, found.line, found.reason) == (0, 1, reason)


def test_a_large_file_is_rejected_and_a_cut_one_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MAX_FILE_BYTES", 1000)
    path = tmp_path / "a"
    for compression, packed in ((None, b"x" * 1001), ("gz", gzip.compress(b"x" * 3_000_000))):
        path.write_bytes(packed)
        found = read_text(str(path), compression, "a")
        assert isinstance(found, Reject) and found.reason == "file_too_large"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DamagedFileError, match="truncated"):
        read_text(str(path), "gz", "a")
