"""What a disk answers that takes no more, told as an error that says what to do about it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from .errors import StorageError

_WHY = {
    errno.ENOSPC: "no space is left on a disk",
    errno.EDQUOT: "the quota of a disk is used up",
    errno.EROFS: "a disk is read-only",
}


def storage_error(error: BaseException) -> StorageError | None:
    """The error to show instead of `error`, where a disk is behind it; None where none is.

    Libraries that write through a stream raise errors of their own on the way out of a failed write, torch's archives
    among them; what was raised first is looked for in the chain.
    """
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in _WHY:
            place = f", writing {one.filename}" if one.filename else ""
            return StorageError(
                f"{_WHY[one.errno]} of {socket.gethostname()}{place}; make room for the store, and for temporary files "
                "(`mixproof store gc` shows what of the store nothing needs), then run the same command again: it goes "
                "on from what is finished"
            )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if error.__cause__ is not None:
            yield from _chain(error.__cause__)
        error = error.__context__ if error.__context__ is not error.__cause__ else None
