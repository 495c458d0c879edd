"""A build or run is found by its folder or record; what is not there is named as it was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixproof.ledger.errors import RequestError
from mixproof.ledger.location import locate

KEY = "0" * 64


def test_a_folder_or_its_record_names_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "store" / "train" / KEY
    folder.mkdir(parents=True)
    for target in (folder, folder / "run.json", f"file://{folder}"):
        found = locate(target)
        assert (found.store.root, found.name, found.key) == (tmp_path / "store", f"train/{KEY}", KEY)


def test_a_folder_that_does_not_exist_is_named_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=r"^nowhere/run: no such folder; .* its manifest\.json or run\.json$"):
        locate("nowhere/run")
