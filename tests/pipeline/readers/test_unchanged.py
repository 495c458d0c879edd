"""A file is the same before and after it is read, or what was read does not count."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from mixproof.ledger.errors import RequestError
from mixproof.pipeline.readers.unchanged import (
    FileVersion,
    check_content,
    check_found,
    hash_file,
    unchanged,
    verified,
    version_of,
)


def test_version_and_hash_are_of_one_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    version, sha256 = hash_file(str(path))
    assert version == version_of(str(path)) and version.bytes == 3
    assert sha256 == hashlib.sha256(b"one").hexdigest()


def test_a_file_that_is_written_to_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    status = path.stat()
    with pytest.raises(RequestError, match=r"a: changed while it was read \(written to, or"), unchanged(str(path)):
        path.write_bytes(b"two")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_file_that_is_replaced_by_another_one_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    for each in (path, other):
        each.write_bytes(b"one")
        os.utime(each, ns=(0, 0))
    with pytest.raises(RequestError, match=r"changed while it was read \(replaced by a file"), unchanged(str(path)):
        other.replace(path)


def test_a_change_since_a_file_was_found_is_named() -> None:
    found = FileVersion(3, 1_500_000_000, ctime_ns=1, tag="x")
    check_found("a", found, found._replace(ctime_ns=2, inode=5))
    for now, change in (
        (found._replace(bytes=4, tag="y"), r"\(3 bytes, then 4\)"),
        (found._replace(tag="y"), r"\(tag x, then y\)"),
        (
            found._replace(mtime_ns=2),
            r"\(modified at 1970-01-01 00:00:01\.500000000 UTC, then at 1970-01-01 00:00:00\.000000002 UTC\)",
        ),
    ):
        with pytest.raises(RequestError, match=f"^a: changed since it was found {change}; make sure"):
            check_found("a", found, now)


def test_a_content_is_checked_against_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    sha256 = hashlib.sha256(b"one").hexdigest()
    with verified(str(path), sha256) as version:
        pass
    check_content(str(path), version, sha256)
    with pytest.raises(RequestError, match="its content is not the one that was identified"):
        check_content(str(path), version, hashlib.sha256(b"two").hexdigest())
