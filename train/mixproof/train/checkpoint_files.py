"""Where the checkpoints of a run lie, and whether one is whole; for those who look and load none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mixproof.ledger.location import CHECKPOINTS
from mixproof.ledger.receipt import unseal

FILES = "files.json"
"""In a checkpoint, written last: what it is of, and size and SHA-256 of its every file."""


def checkpoint_path(folder: Path, consumed_samples: int) -> Path:
    """Where the run in `folder` has its checkpoint at `consumed_samples`."""
    return folder / CHECKPOINTS / f"iter_{consumed_samples:012d}"


def whole_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run whose every file is there in its full size, oldest first."""
    return [path for path in sorted((folder / CHECKPOINTS).glob("iter_*")) if checkpoint_files(path) is not None]


def checkpoint_files(path: Path) -> dict[str, str] | None:
    """SHA-256 of each file of a checkpoint by its name, or None where the checkpoint is not whole."""
    facts = checkpoint_facts(path)
    return None if facts is None else {name: file["sha256"] for name, file in facts["files"].items()}


def read_facts(path: Path) -> dict[str, Any] | None:
    """The list of a checkpoint's files, or None where there is none that holds."""
    try:
        facts: dict[str, Any] = json.loads(unseal(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return facts


def checkpoint_facts(path: Path) -> dict[str, Any] | None:
    """What a checkpoint says about itself, or None where it is not whole."""
    facts = read_facts(path / FILES)
    if facts is None:
        return None
    whole = all(
        (path / name).is_file() and (path / name).stat().st_size == file["bytes"]
        for name, file in facts["files"].items()
    )
    return facts if whole else None
