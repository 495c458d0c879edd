"""Audit of a run's checkpoints: every one that is there is whole, byte by byte, and the last one is there.

The last checkpoint is the run's result and its files are named by the record. The others, which continuations and
scores along the way start from, are named by the list of their own, `files.json`, whose last field is the SHA-256 of
all that stands before it. No code of the writer is used.
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
    """Check every checkpoint that the run has.

    Args:
        root: the store's folder.
        run: the record, whose own files have been checked.
        checks: where the outcome goes.
    """
    folder = root / "train" / run.key
    there = {int(path.name.removeprefix("iter_")) for path in (folder / FOLDER).glob("iter_*")}
    for samples in sorted({run.consumed_samples, *there}):
        _check_checkpoint(root, run, samples, checks)


def _check_checkpoint(root: Path, run: RunRecord, samples: int, checks: Checks) -> None:
    place = f"{FOLDER}/iter_{samples:012d}"
    path = root / "train" / run.key / place / LIST
    at = checks.at(file=str(path), shard=place)
    facts = _read_list(path, at)
    if facts is None:
        return
    at.equal("E9", "samples consumed", samples, facts.get("consumed_samples"))
    at.equal("schema", "as arithmetic", run.dtype, facts.get("dtype"))
    own = {
        name.removeprefix(f"{place}/"): sha256
        for name, sha256 in run.files.items()
        if name.startswith(f"{place}/") and not name.endswith(f"/{LIST}")
    }
    files = {name: file["sha256"] for name, file in facts.get("files", {}).items()}
    if samples == run.consumed_samples:
        at.equal("checksum", "as checksums of the record", own, files)
        return
    for name, sha256 in files.items():
        check_file(root, f"train/{run.key}/{place}/{name}", sha256, checks.at(shard=place))


def _read_list(path: Path, checks: Checks) -> dict[str, Any] | None:
    try:
        raw = path.read_bytes()
    except OSError as error:
        checks.true("checksum", False, "the list of a whole checkpoint", f"no readable file: {error.strerror}")
        return None
    body, _, end = raw.rpartition(MARK)
    digest = hashlib.sha256(body + b"}").hexdigest()
    if not checks.true("checksum", end == f'{digest}"}}'.encode(), "a list with its own checksum", "another checksum"):
        return None
    facts: dict[str, Any] = json.loads(body + b"}")
    return facts
