"""A build and a run on an object store are those of a folder; another machine finds, audits and reuses them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mixproof.ledger.store import Store
from mixproof.tokenize.audit import audit_build, copy_build, copy_run, in_store
from mixproof.train.audit_run import audit_run
from object_store import ObjectStore


def test_a_build_and_a_run_on_an_object_store_are_those_of_a_folder_and_are_audited_from_another_machine(
    object_store: ObjectStore,
    victim: Any,  # noqa: ANN401  the Victim of the conftest
    make: Callable[[Path, Store], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MIXPROOF_CACHE", str(tmp_path / "copies"))
    store = Store(f"{object_store.bucket('whole')}/store")
    made = make(tmp_path, store)
    assert made.manifest_path.read_bytes() == victim.manifest_path.read_bytes()
    assert made.run_path.read_bytes() == victim.run_path.read_bytes()
    shutil.rmtree(store.root)  # another machine has no copies

    def audit() -> list[tuple[str, str]]:
        manifest, run = (store.relative(path) for path in (made.manifest_path, made.run_path))
        copy_build(store, store.path(manifest), "bytes")
        copy_run(store, run.split("/")[1], "bytes")
        report = in_store(audit_build(store.root / manifest) + audit_run(store.root / run), store)
        return [(failure.equation, failure.file) for failure in report.failures]

    assert audit() == []
    part = made.manifest.sources["manual"].train.datasets[0]
    bin_url = store.place(f"{part.prefix}.bin")
    data = bytearray(object_store.filesystem().cat_file(bin_url))
    data[3] ^= 1
    object_store.put(bin_url, bytes(data))
    assert ("checksum", bin_url) in audit()
    data[3] ^= 1
    object_store.put(bin_url, bytes(data))
    before = store.sizes("train")
    shutil.rmtree(store.root)
    again = make(tmp_path, store)
    assert (again.run_path.read_bytes(), store.sizes("train")) == (victim.run_path.read_bytes(), before)
