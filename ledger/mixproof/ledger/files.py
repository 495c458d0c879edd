"""Local files: published whole by fsync and rename, so that a kill at any moment leaves the old or the new one."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def publish(source: Path, target: Path) -> None:
    """Move a finished file to its place: fsync, rename, fsync the folder. Atomic on one file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _fsync(source)
    source.replace(target)
    _fsync(target.parent)


def publish_bytes(data: bytes, target: Path) -> None:
    """Write `data` beside `target` under a unique name, then publish it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    scratch.write_bytes(data)
    publish(scratch, target)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
