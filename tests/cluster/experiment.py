"""A small experiment, once on one machine with a folder, and its inputs on the box's S3 server."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec

from cluster.box import Box
from cluster.node import PATIENCE
from cluster.trial import Expected
from cluster.workload import Workload, answer, lasting
from conftest import SPEC, environment, mixproof_command, write_corpus
from mixproof.ledger.store.store import Store
from static_table import write_table

BUCKET = "bucket"


def upload(box: Box, folder: Path, text: str = SPEC) -> tuple[Path, str]:
    """Write the corpus to S3 and a spec that reads it there; the spec, and the URL below which stores may be."""
    filesystem = fsspec.filesystem("s3")
    filesystem.mkdir(BUCKET)
    _write_inputs(folder)
    for path in sorted((folder / "corpus").rglob("*")):
        if path.is_file():
            filesystem.pipe_file(f"{BUCKET}/{path.relative_to(folder)}", path.read_bytes())
    spec = folder / "remote.yaml"
    spec.write_text(text.replace('"corpus/', f'"s3://{BUCKET}/corpus/'))
    return spec, f"s3://{BUCKET}/stores"


def run_here(folder: Path, workload: Workload) -> Expected:
    """Run the same corpus on this machine alone, into a folder; what to expect of the workload."""
    spec, store = local_spec(folder, workload), folder / f"store-{workload.name}"
    if workload.in_a_folder:
        _run(("build", spec, "--store", _built(folder, workload)))
        shutil.copytree(_built(folder, workload), store)
    said = _run((workload.verb, spec, "--store", store), workload.codes)
    return Expected(workload.results(Store(store)), lasting(said, Store(store)))


def local_spec(folder: Path, workload: Workload) -> Path:
    """The spec of a workload that reads the corpus from this machine's folder, which all nodes see."""
    _write_inputs(folder)
    spec = folder / f"{workload.name}.yaml"
    spec.write_text(workload.spec)
    return spec


def new_store(folder: Path, workload: Workload, bucket: str) -> str:
    """A new store for a trial: an URL of S3, or a folder with a finished build (see `run_here`)."""
    name = uuid.uuid4().hex
    if not workload.in_a_folder:
        return f"{bucket}/{name}"
    shutil.copytree(_built(folder, workload), folder / name)
    return str(folder / name)


def _built(folder: Path, workload: Workload) -> Path:
    return folder / f"built-{workload.name}"


def _run(arguments: Sequence[str | Path], codes: Sequence[int] = (0,)) -> dict[str, Any]:
    """What a command on two processors of this machine says."""
    command = mixproof_command(*arguments, "--json", "--workers", "2")
    done = subprocess.run(command, env={**environment(), **PATIENCE}, check=False, capture_output=True, text=True)
    said = answer(done.stdout)
    assert done.returncode in codes and said is not None, done.stderr
    return said


def _write_inputs(folder: Path) -> None:
    if not (folder / "corpus").exists():
        write_corpus(folder / "corpus")
        write_table(folder / "table")
