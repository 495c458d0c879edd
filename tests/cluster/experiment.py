"""A small experiment with all stages, once on one machine with a folder, and its inputs on the box's S3 server."""

from __future__ import annotations

import subprocess
from pathlib import Path

import fsspec

from cluster.box import Box
from cluster.trial import Expected
from cluster.workload import Workload, answer
from conftest import SPEC, environment, mixproof_command, write_corpus
from mixproof.ledger.store import Store
from static_table import write_table

BUCKET = "bucket"
DEDUP = """\
dedup:
  exact: true
  fuzzy: true
  semantic: {embedding: table, sources: [manual, guide, notes]}
  paragraphs: {sources: [manual, guide, notes]}
  substrings: {sources: [manual, guide, notes]}
  scope: all
  keep: [manual, guide]
"""
SEARCHED = "search: {rounds: [5, 3], repeats: 2, finalists: 1}\n"
ALL_STAGES = SPEC.replace("dedup: {exact: true, scope: all, keep: [manual, guide]}\n", DEDUP) + SEARCHED


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


def run_here(folder: Path, workload: Workload, text: str = SPEC) -> Expected:
    """Run the same corpus on this machine alone, into a folder; what to expect of the workload."""
    _write_inputs(folder)
    spec, store = folder / "small.yaml", folder / "store"
    spec.write_text(text)
    command = mixproof_command(workload.verb, spec, "--store", store, "--json")
    done = subprocess.run(command, env=environment(), check=False, capture_output=True, text=True)
    said = answer(done.stdout)
    assert done.returncode in workload.codes and said is not None, done.stderr
    return Expected(workload.results(Store(store)), said)


def _write_inputs(folder: Path) -> None:
    if not (folder / "corpus").exists():
        write_corpus(folder / "corpus")
        write_table(folder / "table")
