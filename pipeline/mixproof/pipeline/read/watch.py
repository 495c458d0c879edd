"""A watch on the current document: a mark that outlives the process, and a limit on the time.

The mark is 8 bytes of a memory-mapped file, so it costs less than a microsecond per document and survives a crash. A
step may hang where Python does not handle signals (inside a regular expression, for example), so the limit is enforced
by faulthandler's own thread, which ends the process. It is set again about once a second, not for each document.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import struct
import time
from pathlib import Path
from types import TracebackType

from mixproof.ledger.files import open_no_link

PATIENCE_SECONDS = 120.0
"""How long any document may take; longer ones get more by their size."""
SLOWEST_BYTES_PER_SECOND = 50_000
"""A third of the speed of datatrove's four quality filters together."""
RESET_SECONDS = 1.0
SLACK_SECONDS = 10.0
"""What a document may get in excess because the one before it was large; setting the limit again costs a thread."""

_INDEX = struct.Struct("<q")


class PoisonWatch:
    """Watches one shard while it is read; a context manager. Only one at a time in a process.

    Args:
        mark: the file of the mark.
        patience_seconds: how long any document may take.
    """

    def __init__(self, mark: Path, patience_seconds: float) -> None:
        self._path, self._patience = mark, patience_seconds
        self._end = 0.0

    def __enter__(self) -> PoisonWatch:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = open_no_link(self._path, os.O_RDWR | os.O_CREAT)
        os.ftruncate(descriptor, _INDEX.size)
        self._mark = mmap.mmap(descriptor, _INDEX.size)
        os.close(descriptor)
        self._trace = open(os.devnull, "w")  # noqa: PTH123 - faulthandler writes its trace here
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._mark.close()
        self._trace.close()
        self._path.unlink(missing_ok=True)

    def start(self, index: int) -> None:
        """Mark the record with this index in the shard as the current one, before it is read."""
        _INDEX.pack_into(self._mark, 0, index)
        self._allow(self._patience)

    def extend(self, text_bytes: int) -> None:
        """Give a large document time by its size."""
        self._allow(self._patience + text_bytes / SLOWEST_BYTES_PER_SECOND)

    def _allow(self, seconds: float) -> None:
        """Move the limit later where it is too near, and earlier where it is much too far."""
        now = time.monotonic()
        if not seconds <= self._end - now <= seconds + SLACK_SECONDS:
            faulthandler.dump_traceback_later(seconds + RESET_SECONDS, exit=True, file=self._trace)
            self._end = now + seconds + RESET_SECONDS


def marked_index(mark: Path) -> int | None:
    """Index of the record that a process was reading when it died; None where none died."""
    try:
        data = mark.read_bytes()
    except FileNotFoundError:
        return None
    return int(_INDEX.unpack(data)[0]) if len(data) == _INDEX.size else 0
