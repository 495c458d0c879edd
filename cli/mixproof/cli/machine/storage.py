"""The store's place: whether it can be written to, and how much its disk takes."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mixproof.ledger.errors import MixproofError
from mixproof.ledger.store import Store

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  where Ray keeps its objects, not a temporary file of ours


@dataclass(frozen=True)
class Storage:
    """Where a store is or would be."""

    store: str
    exists: bool
    free_bytes: int | None
    """Of its disk; None for an object store."""
    problem: str | None
    """Why it cannot be used; None where it can."""


def find_storage(url: str) -> Storage:
    """Look at a store's place; nothing is left behind.

    An object store is checked by requesting its bucket; a folder by writing a temporary file.
    """
    store = Store(url)
    if store.is_remote:
        try:
            store.check()
        except MixproofError as error:
            return Storage(str(store), False, None, str(error))
        return Storage(str(store), bool(store.stages()), None, None)
    folder = next(path for path in (store.root, *store.root.parents) if path.exists())
    if not folder.is_dir():
        return Storage(str(store), False, None, f"{folder} is a file")
    return Storage(str(store), store.root.is_dir(), shutil.disk_usage(folder).free, _refused(folder))


def shared_memory_bytes() -> int | None:
    """Size of /dev/shm, where Ray keeps its objects on Linux; None where there is none."""
    return shutil.disk_usage(SHARED_MEMORY).total if SHARED_MEMORY.is_dir() else None


def _refused(folder: Path) -> str | None:
    """Why no file can be written to a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        return f"cannot write to {folder}: {error.strerror}"
    return None
