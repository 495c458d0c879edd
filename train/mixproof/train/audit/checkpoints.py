"""Audit of a run's checkpoints: the last one exists, and every file of each checkpoint has its recorded checksum.

The record names the files of the last checkpoint, the run's result. The files of the others are named by their own
`files.json`, whose last field is the SHA-256 of everything before it. The checksums are computed here; no code of the
writer is used.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mixproof.tokenize.audit.checksums import check_file
from mixproof.tokenize.audit.report import Checks
from mixproof.train.record import RunRecord

FOLDER = "checkpoints"
LIST = "files.json"
MARK = b',"sha256":"'


def check_checkpoints(root: Path, run: RunRecord, checks: Checks) -> None:
    """Check every checkpoint of a run.

    Args:
        root: the store's folder.
        run: the record, whose own files have been checked.
        checks: receives the results.
    """
    folder = root / "train" / run.key
    saved = {int(path.name.removeprefix("iter_")) for path in (folder / FOLDER).glob("iter_*")}
    for samples in sorted({run.consumed_samples, *saved}):
        _check_checkpoint(root, run, samples, checks)


def _check_checkpoint(root: Path, run: RunRecord, samples: int, checks: Checks) -> None:
    checkpoint = f"{FOLDER}/iter_{samples:012d}"
    path = root / "train" / run.key / checkpoint / LIST
    at = checks.at(file=str(path), shard=checkpoint)
    facts = _read_list(path, at)
    if facts is None:
        return
    at.equal("E9", "samples consumed", samples, facts.get("consumed_samples"))
    at.equal("schema", "as dtype", run.dtype, facts.get("dtype"))
    recorded = {
        name.removeprefix(f"{checkpoint}/"): sha256
        for name, sha256 in run.files.items()
        if name.startswith(f"{checkpoint}/") and not name.endswith(f"/{LIST}")
    }
    files = {name: file["sha256"] for name, file in facts.get("files", {}).items()}
    if samples == run.consumed_samples:
        at.equal("checksum", "as checksums in the record", recorded, files)
        return
    for name, sha256 in files.items():
        check_file(root, f"train/{run.key}/{checkpoint}/{name}", sha256, checks.at(shard=checkpoint))


def _read_list(path: Path, checks: Checks) -> dict[str, Any] | None:
    try:
        raw = path.read_bytes()
    except OSError as error:
        checks.true("checksum", False, "the file list of a complete checkpoint", f"unreadable: {error.strerror}")
        return None
    body, _, end = raw.rpartition(MARK)
    digest = hashlib.sha256(body + b"}").hexdigest()
    if not checks.true("checksum", end == f'{digest}"}}'.encode(), "a list that ends in its checksum", "another one"):
        return None
    facts: dict[str, Any] = json.loads(body + b"}")
    return facts
