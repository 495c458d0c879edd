"""Builds in this process, what an audit of them finds, and lists of theirs that are edited behind its back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from in_process import InProcess
from mixproof.ledger.content import content_sha256
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.ledger.manifest import read_manifest
from mixproof.ledger.records.dropped import CutsRecord
from mixproof.ledger.store import Store
from mixproof.ledger.store.receipt import RECEIPT, StoredFile
from mixproof.mixtures.load import LoadedSpec
from mixproof.pipeline.inputs.files import find_files
from mixproof.tokenize.audit import Failure, replay_build
from mixproof.tokenize.audit.arithmetic import check_arithmetic
from mixproof.tokenize.audit.cuts import check_cuts
from mixproof.tokenize.audit.inputs import check_inputs
from mixproof.tokenize.audit.report import Checks
from mixproof.tokenize.audit.spec import check_spec
from mixproof.tokenize.build import build


def make(loaded: LoadedSpec, store: Store) -> Path:
    with InProcess() as cluster:
        return build(loaded, store, cluster).manifest_path


def failures(loaded: LoadedSpec, store: Store, manifest_path: Path) -> list[Failure]:
    """What arithmetic, spec, lists and replay find."""
    checks, manifest = Checks(), read_manifest(manifest_path)
    check_arithmetic(manifest, checks.at())
    check_spec(manifest, checks.at())
    for name, source in manifest.sources.items():
        at = checks.at(source=name)
        check_cuts(store.root, source, check_inputs(store.root, source.inputs, at), at)
    with InProcess() as cluster:
        replayed = replay_build(loaded.spec, find_files(loaded.spec, loaded.base), store, manifest_path, cluster)
    return [*checks.report("bytes").failures, *replayed.failures]


def edit_list(store: Store, manifest_path: Path, part: CutsRecord, edit: Callable[[pa.Table], pa.Table]) -> None:
    """Edit a list of what was cut, with its checksums in the manifest and in its receipt."""
    file = store.path(part.path)
    receipt = store.receipt(*part.path.split("/")[:2])
    assert receipt is not None
    pq.write_table(edit(pq.read_table(file)), file)
    sha256 = content_sha256(file)
    manifest_path.write_text(manifest_path.read_text().replace(part.sha256, sha256))
    stored = StoredFile(sha256=sha256_of_file(file), bytes=file.stat().st_size, rows_sha256=sha256)
    edited = receipt.model_copy(update={"files": {file.name: stored}})
    store.path(f"{receipt.stage}/{receipt.key}/{RECEIPT}").write_bytes(edited.to_bytes())
