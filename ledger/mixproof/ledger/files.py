"""Local files: published whole by fsync and rename, so that a kill at any moment leaves the old or the new one."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Found:
    """A file as its folder or its object store lists it."""

    bytes: int
    modified: float
    """In seconds since 1970; 0 where the store does not tell."""
    tag: str = ""
    """Of an object: another one whenever the content is another."""


SCRATCH = re.compile(r"\..+\.[0-9a-f]{32}")


def scratch_beside(target: Path, name: str | None = None) -> Path:
    """A place beside `target` for what is going to be it; unique, by the attempt's `name` where one is given."""
    return target.with_name(f".{target.name}.{name or uuid.uuid4().hex}")


def is_scratch(name: str) -> bool:
    """Whether a file is called as `scratch_beside` calls them."""
    return SCRATCH.fullmatch(name) is not None


def find_files(root: Path, folder: str) -> Iterator[tuple[str, Found]]:
    """Every file below `folder` of `root` with its place below `root`; of the whole `root` without hidden folders."""
    pending = [str(root / folder)]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except (FileNotFoundError, NotADirectoryError):  # gone since it was listed
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if folder or not entry.name.startswith("."):
                    pending.append(entry.path)
            elif entry.is_file():
                status = entry.stat()
                yield entry.path[len(str(root)) + 1 :], Found(status.st_size, status.st_mtime)


def publish(source: Path, target: Path) -> None:
    """Move a finished file to its place: fsync, rename, fsync the folder. Atomic on one file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _fsync(source)
    source.replace(target)
    _fsync(target.parent)


def publish_bytes(data: bytes, target: Path) -> None:
    """Write `data` beside `target` under a unique name, then publish it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = scratch_beside(target)
    scratch.write_bytes(data)
    publish(scratch, target)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
