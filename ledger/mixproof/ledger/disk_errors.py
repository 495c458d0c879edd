"""Turn full-disk OSErrors into actionable errors."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from .errors import StorageError

_REASONS = {
    errno.ENOSPC: "no space is left on a disk",
    errno.EDQUOT: "the quota of a disk is used up",
    errno.EROFS: "a disk is read-only",
}


def storage_error(error: BaseException) -> StorageError | None:
    """The error to show instead of `error` when a disk caused it; None otherwise.

    Libraries that write through a stream (torch's archives, for example) raise their own error after a failed write,
    so the whole chain of causes and contexts is searched.
    """
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in _REASONS:
            file = f", writing {one.filename}" if one.filename else ""
            return StorageError(
                f"{_REASONS[one.errno]} of {socket.gethostname()}{file}; make room for the store and for temporary "
                "files (`mixproof store gc` lists what can be deleted from the store), then run the same command "
                "again: it resumes from the finished outputs"
            )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if error.__cause__ is not None:
            yield from _chain(error.__cause__)
        error = error.__context__ if error.__context__ is not error.__cause__ else None
