"""Where exports go: a folder, or a place on an object store that gets all of it or nothing."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from mixproof.cli.commands.export import export
from mixproof.cli.export_folder import export_folder
from mixproof.ledger.errors import RequestError
from object_store import ObjectStore


def test_a_folder_is_itself(tmp_path: Path) -> None:
    with export_folder(f"file://{tmp_path}/model") as folder:
        assert folder == tmp_path / "model"


def test_the_files_are_at_the_url_when_all_of_them_are_there(object_store: ObjectStore) -> None:
    bucket = object_store.bucket(f"bucket-{uuid.uuid4().hex}")
    with export_folder(f"{bucket}/model") as folder:
        (folder / "inner").mkdir(parents=True)
        (folder / "inner" / "a.json").write_text("{}")
        (folder / "b.bin").write_bytes(b"b")
        assert object_store.filesystem().find(bucket) == []
    found = [name.partition("/")[2] for name in object_store.filesystem().find(bucket)]
    assert found == ["model/b.bin", "model/inner/a.json"]
    with pytest.raises(RequestError, match="is not empty; name an empty location"), export_folder(f"{bucket}/model"):
        pass


def test_nothing_is_at_the_url_after_an_error(object_store: ObjectStore) -> None:
    bucket = object_store.bucket(f"bucket-{uuid.uuid4().hex}")
    with pytest.raises(ValueError, match="half"), export_folder(f"{bucket}/model") as folder:
        folder.mkdir()
        (folder / "a.json").write_text("{}")
        raise ValueError("half")
    assert object_store.filesystem().find(bucket) == []


def test_flags_that_name_local_files_are_not_written_to_a_url() -> None:
    with pytest.raises(RequestError, match="the written flags name local files, so give a local folder"):
        export("spec.yaml", "s3://bucket/flags", form="megatron-args")
