"""A full disk, by the device that always is one."""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from mixproof.ledger.disk_errors import storage_error

FULL = Path("/dev/full")


def close_badly() -> None:
    """Fail on a full disk, then fail once more on the way out, as writers of archives do."""
    try:
        FULL.write_bytes(b"x")
    finally:
        raise RuntimeError("unexpected position")


@contextmanager
def few_open_files() -> Iterator[None]:
    """Let this process open files only while it has fewer than 100."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_error_of_a_full_disk_says_what_to_do() -> None:
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
    assert str(shown).startswith(f"a disk is read-only: /store/receipts (on host {socket.gethostname()}); mount it")
    shown = storage_error(OSError(errno.EACCES, "Permission denied", "/data/a.jsonl"))
    assert str(shown).startswith("permission denied: /data/a.jsonl (on host ")


def test_too_many_open_files_and_a_broken_disk_are_named() -> None:
    with pytest.raises(OSError, match="Too many open files") as raised, few_open_files(), ExitStack() as opened:
        while True:
            opened.enter_context(FULL.open())
    shown = f"too many files are open: /dev/full (on host {socket.gethostname()}); raise the limit"
    assert shown in str(storage_error(raised.value))
    assert "a disk cannot be read or written" in str(storage_error(OSError(errno.EIO, "Input/output error")))


def test_only_a_full_disk_is_to_be_given_room() -> None:
    for number in (errno.ENOSPC, errno.EDQUOT):
        assert "make room" in str(storage_error(OSError(number, "full", "/store/a")))
    for number, advice in (
        (errno.EROFS, "mount it with write access"),
        (errno.EACCES, "permission denied"),
        (errno.EPERM, "change the owner or the mode"),
    ):
        shown = str(storage_error(OSError(number, "no", "/store/a")))
        assert advice in shown and "make room" not in shown and "use another --store" in shown


def test_permission_to_do_something_else_than_write_a_file_is_no_storage_error() -> None:
    assert storage_error(PermissionError(errno.EPERM, "Operation not permitted")) is None  # as kill() raises it


def test_a_short_write_of_numpy_is_a_full_disk() -> None:
    with FULL.open("wb", buffering=0) as file, pytest.raises(OSError, match="requested and") as raised:
        np.zeros(1 << 20).tofile(file)
    assert raised.value.errno is None
    assert "no space is left" in str(storage_error(raised.value))


@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534",
        "PytorchStreamWriter failed writing file data/0: file write failed",
    ],
)
def test_a_short_write_of_torch_is_a_full_disk(message: str) -> None:
    assert "make room" in str(storage_error(RuntimeError(message)))


def test_an_errno_that_a_rust_library_states_is_read() -> None:
    message = "Error while serializing: I/O error: {} (os error {})"
    full = storage_error(Exception(message.format("No space left on device", errno.ENOSPC)))
    assert "no space is left" in str(full)
    assert "read-only" in str(storage_error(Exception(message.format("Read-only file system", errno.EROFS))))
    assert storage_error(Exception(message.format("No such file or directory", errno.ENOENT))) is None


def test_other_errors_are_left_as_they_are() -> None:
    assert storage_error(FileNotFoundError(errno.ENOENT, "No such file", "a")) is None
    assert storage_error(ValueError("no space left on device")) is None
