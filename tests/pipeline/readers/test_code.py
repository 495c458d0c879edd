"""Source files: one document each."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixproof.pipeline.readers import code
from mixproof.pipeline.readers.code import read_code
from mixproof.pipeline.record import Raw, Reject


def test_a_file_is_a_document_whose_id_is_its_name_and_line_ends_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"\xef\xbb\xbfx = 1\r\n# \xc3\xa9\r\n")
    assert read_code(str(path), "sub/a.py") == Raw(0, "sub/a.py", "x = 1\r\n# é\r\n")


def test_bytes_that_are_no_text_empty_files_and_huge_ones_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"\x00\xff\xfe")
    assert read_code(str(path), "a.bin") == Reject(0, 1, "invalid_utf8", "\0\\xff\\xfe")
    path.write_bytes(b"")
    assert read_code(str(path), "a.bin") == Reject(0, 1, "empty_text", "")
    monkeypatch.setattr(code, "MAX_FILE_BYTES", 2)
    path.write_bytes(b"abc")
    assert read_code(str(path), "a.bin") == Reject(0, 1, "file_too_large", "more than 2 bytes")
