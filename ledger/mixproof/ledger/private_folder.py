"""Folders for temporary files with a known name, in which no other user of the machine can write."""

from __future__ import annotations

import os
import stat
import tempfile
from functools import lru_cache
from pathlib import Path


def private_folder(purpose: str, base: str | None = None) -> str:
    """The path of this user's folder for a purpose, made if need be.

    If another user made a folder of that name, or could write to it, a new one that ends with the process is used.

    Args:
        purpose: a word for its name.
        base: the folder in which it is; None: that of temporary files.
    """
    return _private(f"{base or tempfile.gettempdir()}/mixproof-{purpose}-{os.getuid()}")


@lru_cache
def _private(name: str) -> str:
    folder = Path(name)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        status = folder.lstat()  # not of what a link leads to
        is_mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
        if not is_mine or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return _temporary(name).name
    return name


@lru_cache
def _temporary(name: str) -> tempfile.TemporaryDirectory[str]:
    """A folder that is removed at the end of the process; remembered, so that it stays until then."""
    return tempfile.TemporaryDirectory(prefix=f"{Path(name).name}-", dir=Path(name).parent)
