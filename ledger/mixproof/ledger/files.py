"""Local files: published whole by fsync and rename, so a kill at any moment leaves the old file or the new one."""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .errors import DamagedFileError


@dataclass(frozen=True)
class Found:
    """A file as a folder or an object store lists it."""

    bytes: int
    modified: float
    """Seconds since 1970; 0 when the store does not report it."""
    tag: str = ""
    """An object's version tag (such as an ETag), which changes when the content changes; empty for local files."""


@dataclass(frozen=True)
class ByteRange:
    """Bytes [start, end) of a file of the store."""

    name: str
    """Relative to the store."""
    start: int
    end: int


def read_range(path: Path, start: int, end: int) -> bytes:
    """Bytes [start, end) of a local file; fewer if it is shorter."""
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        parts = []
        while start < end and (part := file.read(end - start)):  # one call of the system gives at most 2 GB
            parts.append(part)
            start += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def leads_out(name: str) -> bool:
    """Whether a relative path is absolute, has a part `..`, or cannot be one (NUL)."""
    return name.startswith("/") or "\0" in name or (".." in name and ".." in PurePosixPath(name).parts)


def inside(root: Path, name: str) -> Path:
    """The path of the file `name` below a folder; names come from manifests, receipts and listings of other teams.

    Raises:
        DamagedFileError: when the name leads out of the folder.
    """
    if leads_out(name):
        reason = f"the path {name!r} leads out of the store, so nothing was read or written there"
        raise DamagedFileError(str(root), "path of a file", reason)
    return root / name


SCRATCH = re.compile(r"\..+\.[0-9a-f]{32}")


def scratch_beside(target: Path, name: str | None = None) -> Path:
    """A unique scratch path beside `target`, to be renamed to it; `name` is the attempt's name, if it has one."""
    return target.with_name(f".{target.name}.{name or uuid.uuid4().hex}")


def is_scratch(name: str) -> bool:
    """Whether a file name has the form that `scratch_beside` gives."""
    return SCRATCH.fullmatch(name) is not None


def find_files(root: Path, folder: str) -> Iterator[tuple[str, Found]]:
    """Every file below `root/folder` with its path relative to `root`; "" is all of `root` except hidden folders."""
    pending = [str(root / folder)]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except (FileNotFoundError, NotADirectoryError):  # removed since it was listed
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if folder or not entry.name.startswith("."):
                    pending.append(entry.path)
            elif entry.is_file():
                status = entry.stat()
                yield entry.path[len(str(root)) + 1 :], Found(status.st_size, status.st_mtime)


def open_no_link(path: str | Path, flags: int) -> int:
    """Open a file for writing, and return its descriptor. A link of that name is removed, and not followed.

    For files that are written in place in a store, where another team may have left links.
    """
    try:
        return os.open(path, flags | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    os.unlink(path)  # noqa: PTH108  `path` may be text
    return os.open(path, flags | os.O_NOFOLLOW | os.O_EXCL, 0o666)


def size_of(path: Path) -> int | None:
    """Bytes of a file; None when it does not exist."""
    return path.stat().st_size if path.is_file() else None


def in_hidden_folder(name: str) -> bool:
    """Whether one of the folders in a relative path begins with a dot."""
    return any(part.startswith(".") for part in name.split("/")[:-1])


def publish(source: Path, target: Path) -> None:
    """Move a finished file to `target`: fsync, rename, fsync the folder. Atomic within one file system."""
    publish_together({str(source): str(target)})


def publish_together(moves: Mapping[str, str]) -> None:
    """As `publish` for several files, by path; each is atomic, and folders are synced once, after all of them."""
    # as text, because small files take less time than Path; "" is the working directory
    folders = {os.path.dirname(target) or "." for target in moves.values()}  # noqa: PTH120
    for folder in folders:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103  as above
    for source, target in moves.items():
        _fsync(source)
        os.replace(source, target)  # noqa: PTH105  as above
    for folder in folders:
        _fsync(folder)


def publish_bytes(data: bytes, target: Path) -> None:
    """Write `data` under a scratch name beside `target`, then publish it."""
    scratch = scratch_beside(target)
    try:
        scratch.write_bytes(data)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_bytes(data)
    publish(scratch, target)


def _fsync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
