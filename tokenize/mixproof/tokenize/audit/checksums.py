"""Checksums: every file that a manifest names is hashed completely before anything else reads it.

SHA-256 reaches 1.4 GB/s per core on CPUs with SHA instructions. hashlib releases the GIL, so threads scale. A file
with the wrong checksum is reported and not opened again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from .report import Checks


def is_inside(relative: str) -> bool:
    """Whether a file name from a record stays inside the store."""
    name = PurePosixPath(relative)
    return bool(relative) and not name.is_absolute() and ".." not in name.parts and "\0" not in relative


def path_in_store(root: Path, relative: str, checks: Checks) -> Path | None:
    """The path of the file `relative` in the store at `root`; None and a failure if it leads outside the store."""
    if not checks.true("schema", is_inside(relative), "a path inside the store", relative or "an empty path"):
        return None
    return root / relative


def check_file(root: Path, relative: str, sha256: str, checks: Checks) -> Path | None:
    """Compare the SHA-256 of one file of the store with the recorded one.

    Args:
        root: the store's folder.
        relative: the file's name, relative to the store, as recorded.
        sha256: the recorded SHA-256 of its bytes.
        checks: receives the result; a failure names the file.

    Returns:
        The path, or None if the file is missing or has another checksum.
    """
    path = path_in_store(root, relative, checks)
    if path is None:
        return None
    at = checks.at(file=str(path))
    try:
        with path.open("rb", buffering=0) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        at.true("checksum", False, f"sha256 {sha256}", f"unreadable file: {error.strerror}")
        return None
    return path if at.true("checksum", found == sha256, f"sha256 {sha256}", f"sha256 {found}") else None
