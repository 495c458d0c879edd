"""`mixproof store` as a user runs it, on a store with one output that nothing needs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from conftest import Finished
from mixproof.ledger.fingerprint import sha256_of
from mixproof.ledger.store import Store

Mixproof = Callable[..., Finished]


def test_list_verify_and_gc_speak_of_every_entry_and_only_yes_removes(mixproof: Mixproof, tmp_path: Path) -> None:
    key = sha256_of("a shard")
    with Store(tmp_path).attempt("read", key) as attempt:
        attempt.path("documents.parquet").write_bytes(b"text")
        attempt.commit()
    folder = tmp_path / "read" / key
    listed = mixproof("store", "list", "--store", tmp_path, "--json").json
    assert [(entry["stage"], entry["key"], entry["needed"]) for entry in listed["entries"]] == [("read", key, False)]
    assert mixproof("store", "list", "--store", tmp_path).out.split()[:2] == ["store", str(tmp_path)]
    assert mixproof("store", "verify", "--store", tmp_path, "--json").json == {
        "ok": True,
        "files": 1,
        "bytes": 4,
        "failures": [],
        "unfinished": [],
    }
    (folder / "documents.parquet").write_bytes(b"test")
    wrong = mixproof("store", "verify", "--store", tmp_path, "--json")
    assert wrong.code == 1
    assert [failure["file"] for failure in wrong.json["failures"]] == [str(folder / "documents.parquet")]
    yesterday = time.time() - 25 * 3600
    for path in (folder, *folder.iterdir()):
        os.utime(path, (yesterday, yesterday))
    dry = mixproof("store", "gc", "--store", tmp_path, "--json").json
    assert (dry["removed"], dry["entries"]) == (False, [f"read/{key}"])
    assert folder.is_dir()
    assert mixproof("store", "gc", "--store", tmp_path, "--yes", "--json").json["entries"] == [f"read/{key}"]
    assert not folder.exists()


def test_a_store_that_is_not_there_is_refused(mixproof: Mixproof, tmp_path: Path) -> None:
    done = mixproof("store", "gc", "--store", tmp_path / "nowhere")
    assert done.code == 2
    assert "no such folder" in done.err
    assert not (tmp_path / "nowhere").exists()
