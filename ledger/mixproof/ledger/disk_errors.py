"""Turn errors of disks that cannot be read or written, and of limits of open files, into actionable errors."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterator

from .errors import StorageError

_MAKE_ROOM = (
    "make room for the store and for temporary files (`mixproof store gc` lists what can be deleted from the store), "
    "then run the same command again: it resumes from the finished outputs"
)
_GIVE_ACCESS = "{}, or use another --store or TMPDIR, then run the same command again"
_ALLOW_FILES = "raise the limit (`ulimit -n 65536`) before Ray starts on that machine, then run the same command again"
_REASONS = {
    errno.ENOSPC: ("no space is left on a disk", _MAKE_ROOM),
    errno.EDQUOT: ("the quota of a disk is used up", _MAKE_ROOM),
    errno.EROFS: ("a disk is read-only", _GIVE_ACCESS.format("mount it with write access")),
    errno.EACCES: ("permission denied", _GIVE_ACCESS.format("change the owner or the mode of the file and its folder")),
    errno.EMFILE: ("too many files are open", _ALLOW_FILES),
    errno.ENFILE: ("too many files are open", _ALLOW_FILES),
    errno.EIO: ("a disk cannot be read or written", "check the disk, then run the same command again"),
    errno.EPERM: ("permission denied", _GIVE_ACCESS.format("change the owner or the mode of the file and its folder")),
}
_SHORT_WRITE = re.compile(r"^\d+ requested and \d+ written$")
"""What numpy's `tofile`, and with it `np.save`, raises for a short write: an OSError without an errno."""
_SHORT_ARCHIVE = re.compile(r"inline_container\.cc:\d+\].*unexpected pos|PytorchStreamWriter failed writing")
"""What torch's archive writer raises for a short write: a RuntimeError."""
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")
"""How Rust libraries (safetensors, tokenizers) state an errno."""


def storage_error(error: BaseException) -> StorageError | None:
    """The error to show instead of `error` when a disk caused it; None otherwise.

    Libraries that write through a stream (torch's archives, for example) raise their own error after a failed write,
    so the whole chain of causes and contexts is searched, first for an errno and then for a short write.
    """
    chain = list(_chain(error))
    for one in chain:
        if (number := _errno_of(one)) in _REASONS:
            file = f": {one.filename}" if isinstance(one, OSError) and one.filename else ""
            return _shown(*_REASONS[number], file)
    if any(_is_short_write(one) for one in chain):
        return _shown("a write was cut short, which usually means that no space is left on a disk", _MAKE_ROOM, "")
    return None


def _shown(reason: str, advice: str, file: str) -> StorageError:
    return StorageError(f"{reason}{file} (on host {socket.gethostname()}); {advice}")


def _errno_of(error: BaseException) -> int | None:
    """The errno of a failed file operation; permissions are those of a file only if the error names one."""
    if isinstance(error, OSError):
        has_file = error.filename is not None or error.errno not in (errno.EACCES, errno.EPERM)
        return error.errno if has_file else None
    stated = _RUST_ERROR.search(str(error)) if isinstance(error, Exception) else None
    return int(stated[1]) if stated else None


def _is_short_write(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno is None and _SHORT_WRITE.match(str(error)) is not None
    return isinstance(error, RuntimeError) and _SHORT_ARCHIVE.search(str(error)) is not None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if error.__cause__ is not None:
            yield from _chain(error.__cause__)
        error = error.__context__ if error.__context__ is not error.__cause__ else None
