"""The small experiment, once on one machine with a folder, and its inputs on the box's S3 server."""

from __future__ import annotations

import subprocess
from pathlib import Path

import fsspec

from cluster.box import Box
from cluster.trial import results
from conftest import SPEC, environment, mixproof_command, write_corpus
from mixproof.ledger.store import Store

BUCKET = "bucket"


def upload(box: Box, folder: Path) -> tuple[Path, str]:
    """Write the corpus to S3 and a spec that reads it there; the spec, and the URL below which stores may be."""
    filesystem = fsspec.filesystem("s3")
    filesystem.mkdir(BUCKET)
    if not (folder / "corpus").exists():
        write_corpus(folder / "corpus")
    for path in sorted((folder / "corpus").rglob("*")):
        if path.is_file():
            filesystem.pipe_file(f"{BUCKET}/{path.relative_to(folder)}", path.read_bytes())
    spec = folder / "remote.yaml"
    spec.write_text(SPEC.replace('"corpus/', f'"s3://{BUCKET}/corpus/'))
    return spec, f"s3://{BUCKET}/stores"


def build_here(folder: Path) -> dict[str, bytes]:
    """Build the same corpus on this machine alone, into a folder; the bytes of its results."""
    if not (folder / "corpus").exists():
        write_corpus(folder / "corpus")
    spec, store = folder / "small.yaml", folder / "store"
    spec.write_text(SPEC)
    subprocess.run(
        mixproof_command("build", spec, "--store", store), env=environment(), check=True, capture_output=True
    )
    return results(Store(store))
