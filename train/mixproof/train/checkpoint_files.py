"""Find the checkpoints of a run and tell whether each is complete, without loading any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mixproof.ledger.location import CHECKPOINTS
from mixproof.ledger.store.receipt import unseal

FILES = "files.json"
"""Written last into a checkpoint: facts about it, and the size and SHA-256 of each of its files."""


def checkpoint_path(folder: Path, consumed_samples: int) -> Path:
    """Return the path of the checkpoint at `consumed_samples` of the run in `folder`."""
    return folder / CHECKPOINTS / f"iter_{consumed_samples:012d}"


def whole_checkpoints(folder: Path) -> list[Path]:
    """List the complete checkpoints of a run, oldest first: every file exists with its full size."""
    return [path for path in sorted((folder / CHECKPOINTS).glob("iter_*")) if checkpoint_files(path) is not None]


def checkpoint_files(path: Path) -> dict[str, str] | None:
    """Return the SHA-256 of each file of a checkpoint by name, or None if the checkpoint is not complete."""
    facts = checkpoint_facts(path)
    return None if facts is None else {name: file["sha256"] for name, file in facts["files"].items()}


def read_facts(path: Path) -> dict[str, Any] | None:
    """Read a `files.json`; None if it is missing or its own checksum does not match."""
    try:
        facts: dict[str, Any] = json.loads(unseal(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return facts


def checkpoint_facts(path: Path) -> dict[str, Any] | None:
    """Return the facts in a checkpoint's `files.json`, or None if the checkpoint is not complete."""
    facts = read_facts(path / FILES)
    if facts is None:
        return None
    complete = all(
        (path / name).is_file() and (path / name).stat().st_size == file["bytes"]
        for name, file in facts["files"].items()
    )
    return facts if complete else None
