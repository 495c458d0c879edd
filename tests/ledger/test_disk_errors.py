"""A full disk, by the device that always is one."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from mixproof.ledger.disk_errors import storage_error

FULL = Path("/dev/full")


def close_badly() -> None:
    """Fail on a full disk, then fail once more on the way out, as writers of archives do."""
    try:
        FULL.write_bytes(b"x")
    finally:
        raise RuntimeError("unexpected position")


def test_a_full_disk_is_told_with_the_way_out() -> None:
    with pytest.raises(OSError, match="No space left") as raised:
        FULL.write_bytes(b"x")
    shown = storage_error(raised.value)
    assert shown is not None
    assert "no space is left on a disk" in str(shown)
    assert "run the same command again" in str(shown)
    assert shown.exit_code == 1


def test_a_full_disk_is_found_behind_what_was_raised_because_of_it() -> None:
    with pytest.raises(RuntimeError) as raised:
        close_badly()
    assert "no space is left" in str(storage_error(raised.value))
    wrapped = ValueError("the part cannot be written")
    wrapped.__cause__ = raised.value
    assert "no space is left" in str(storage_error(wrapped))


def test_the_file_is_named_where_it_is_known() -> None:
    shown = storage_error(OSError(errno.EROFS, "Read-only file system", "/store/receipts"))
    assert "read-only" in str(shown)
    assert "writing /store/receipts" in str(shown)


def test_other_errors_are_left_as_they_are() -> None:
    assert storage_error(FileNotFoundError(errno.ENOENT, "No such file", "a")) is None
    assert storage_error(ValueError("no space left on device")) is None
