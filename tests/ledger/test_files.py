"""Local files are published whole, also beside the process that writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixproof.ledger.files import publish_bytes


def test_a_file_is_published_by_a_name_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    publish_bytes(b"<html>", Path("page.html"))
    publish_bytes(b"{}", Path("new/folder/record.json"))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["page.html"]
    assert Path("new/folder/record.json").read_bytes() == b"{}"
