"""Repeat transfers from an object store that arrive incomplete or damaged.

Clients repeat requests that fail or break off. They do not repeat an answer that is complete for HTTP but is not the
object: one that a proxy cut short, or whose bytes do not match the checksum that S3 sends along (botocore then raises
FlexibleChecksumError).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

MAX_TRANSFERS = 4
"""How often an object is requested at most."""


def repeat_damaged(transfer: Callable[[], T], is_whole: Callable[[T], bool]) -> T:
    """Return the first result that is whole, or the last one; the caller raises an error then.

    Raises:
        Exception: as raised by the client at the last transfer, or at once if the data are not damaged.
    """
    for _ in range(MAX_TRANSFERS - 1):
        try:
            result = transfer()
        except Exception as error:
            if not is_damaged(error):
                raise
        else:
            if is_whole(result):
                return result
    return transfer()


def is_damaged(error: object) -> bool:
    """Whether this is the client's error for data that do not match the checksum that the server sent along."""
    return type(error).__name__ == "FlexibleChecksumError"
