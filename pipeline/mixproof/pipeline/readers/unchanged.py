"""Whether a file stays the same file while it is read, and whether it holds what was identified.

A file is found, hashed and read at different times, often by different processes. In between its content may be
replaced, even by one of the same size and with the old modification time (`cp -p`, `rsync -t`). Programs cannot set the
time of the last change of the inode (`ctime`), so it shows every replacement on a local file system; an object store
shows it by ETag.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from mixproof.ledger.errors import RequestError

from .raw import blocks_from
from .remote import is_remote, stat_of

TICK_SECONDS = 0.02
"""Longer than the tick of any common kernel, 10 ms."""


class FileVersion(NamedTuple):
    """What distinguishes the contents that a file has over time."""

    bytes: int
    mtime_ns: int = 0
    """Modification time; 0 if the file is not local."""
    ctime_ns: int = 0
    """Time of the last change of the inode; 0 if the file is not local."""
    inode: int = 0
    device: int = 0
    tag: str = ""
    """ETag, checksum or time of a remote file; "" if its store gives none."""


def version_of(url: str) -> FileVersion:
    """The version of a file as it is now.

    Raises:
        OSError: when a local file cannot be read.
        RequestError: when a remote file cannot be read.
    """
    if is_remote(url):
        size, tag = stat_of(url)
        return FileVersion(size, tag=tag)
    status = Path(url).stat()
    return FileVersion(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)


@contextmanager
def unchanged(url: str) -> Iterator[FileVersion]:
    """Refuse a file that changes, or is replaced, while the block reads it.

    Yields:
        Its version.

    Raises:
        RequestError: when the version at the end is another.
    """
    before = version_of(url)
    yield before
    after = version_of(url)
    if after != before:
        raise RequestError(
            f"{url}: changed while it was read ({_difference(before, after)}); make sure that nothing writes to it, "
            "then run again"
        )


@contextmanager
def verified(url: str, sha256: str) -> Iterator[FileVersion]:
    """As `unchanged`, and the file must hold the content with this SHA-256 (hexadecimal).

    Raises:
        RequestError: when the file changes, or holds another content.
    """
    with unchanged(url) as version:
        yield version
    check_content(url, version, sha256)


def check_found(url: str, found: FileVersion, now: FileVersion) -> None:
    """Check that a file has the size, modification time and tag that it was found with; other parts are not compared.

    Raises:
        RequestError: naming the first of them that differs.
    """
    before, after = (FileVersion(version.bytes, version.mtime_ns, tag=version.tag) for version in (found, now))
    if before != after:
        raise RequestError(
            f"{url}: changed since it was found ({_difference(before, after)}); make sure that nothing writes to it, "
            "then run again"
        )


def check_content(url: str, version: FileVersion, sha256: str) -> None:
    """Check that a version of a file holds the content with this SHA-256; each process hashes it once.

    Raises:
        RequestError: when its content or version has changed.
    """
    if _hash_of_version(url, version) != sha256:
        raise RequestError(
            f"{url}: its content is not the one that was identified at the start (SHA-256 {sha256[:16]}); make sure "
            "that nothing writes to it, then run again"
        )


@functools.lru_cache(maxsize=1024)
def _hash_of_version(url: str, version: FileVersion) -> str:
    found, hashed = hash_file(url)
    if found != version:
        raise RequestError(f"{url}: changed while it was read; make sure that nothing writes to it, then run again")
    return hashed


def hash_file(url: str) -> tuple[FileVersion, str]:
    """The version and the SHA-256 of a file, both of the same content.

    Raises:
        RequestError: when the file cannot be read, or changes meanwhile.
    """
    digest, read = hashlib.sha256(), 0
    try:
        _wait_for_clock(url)
        with unchanged(url) as version:
            for block in blocks_from(url, 0):
                digest.update(block)
                read += len(block)
    except OSError as error:
        raise RequestError(f"{url}: cannot be read: {error.strerror or error}") from error
    if read != version.bytes:
        raise RequestError(f"{url}: {version.bytes} bytes by its size, {read} bytes read; wait until it is complete")
    return version, digest.hexdigest()


def _wait_for_clock(url: str) -> None:
    """Wait until a later write to a local file gets another time: file systems count in ticks of some milliseconds."""
    if not is_remote(url):
        age = time.time() - Path(url).stat().st_ctime
        if 0 <= age < TICK_SECONDS:
            time.sleep(TICK_SECONDS - age)


def _difference(before: FileVersion, after: FileVersion) -> str:
    if before.bytes != after.bytes:
        return f"{before.bytes} bytes, then {after.bytes}"
    if before.tag != after.tag:
        return f"tag {before.tag}, then {after.tag}"
    if before.mtime_ns != after.mtime_ns:
        return f"modified at {_time(before.mtime_ns)}, then at {_time(after.mtime_ns)}"
    if (before.inode, before.device) != (after.inode, after.device):
        return "replaced by a file with the same size and modification time"
    return "written to, or its attributes were set; size and modification time are the same"


def _time(nanoseconds: int) -> str:
    seconds, remainder = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{remainder:09} UTC"
