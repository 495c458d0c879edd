"""Local files are published whole, also beside the process that writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mixproof.ledger.files import open_no_link, publish_bytes


def test_a_file_is_published_by_a_name_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    publish_bytes(b"<html>", Path("page.html"))
    publish_bytes(b"{}", Path("new/folder/record.json"))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["page.html"]
    assert Path("new/folder/record.json").read_bytes() == b"{}"


def test_a_file_that_is_written_in_place_is_never_the_one_that_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link").symlink_to("mine")
    for text in ("one", "two"):
        with os.fdopen(open_no_link(tmp_path / "link", os.O_WRONLY | os.O_CREAT | os.O_APPEND), "a") as file:
            file.write(text)
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "link").read_text() == "onetwo"
