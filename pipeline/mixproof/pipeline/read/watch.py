"""A watch on the document under work: a mark that outlives the process, and an end to waiting.

The mark is 8 bytes of a file, mapped into memory, so it costs less than a microsecond a document and is there after a
crash. A step may hang where Python does not look at signals (inside a regular expression, for one), so the end comes
from faulthandler's own thread, which ends the process. It is set anew once a second or so, not for each document.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import struct
import time
from pathlib import Path
from types import TracebackType

PATIENCE_SECONDS = 120.0
"""How long one document may take, beside what its size allows."""
SLOWEST_BYTES_PER_SECOND = 50_000
"""A third of what datatrove's four quality filters do together."""
RESET_SECONDS = 1.0
SLACK_SECONDS = 10.0
"""What a document may get beyond its due because one before it was large; setting the end anew costs a thread."""

_PLACE = struct.Struct("<q")


class Watch:
    """Watches one shard while it is read; a context manager. Only one at a time in a process."""

    def __init__(self, mark: Path, patience_seconds: float) -> None:
        self._path, self._patience = mark, patience_seconds
        self._end = 0.0

    def __enter__(self) -> Watch:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT)
        os.ftruncate(descriptor, _PLACE.size)
        self._mark = mmap.mmap(descriptor, _PLACE.size)
        os.close(descriptor)
        self._trace = open(os.devnull, "w")  # noqa: PTH123 - where the trace goes when the wait ends
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._mark.close()
        self._trace.close()
        self._path.unlink(missing_ok=True)

    def start(self, place: int) -> None:
        """Work on the record at this place of the shard starts, with its reading."""
        _PLACE.pack_into(self._mark, 0, place)
        self._allow(self._patience)

    def extend(self, text_bytes: int) -> None:
        """Give a large document the time that its size asks for."""
        self._allow(self._patience + text_bytes / SLOWEST_BYTES_PER_SECOND)

    def _allow(self, seconds: float) -> None:
        """Put the end off where it is nearer than this, and bring it nearer where it is much farther."""
        now = time.monotonic()
        if not seconds <= self._end - now <= seconds + SLACK_SECONDS:
            faulthandler.dump_traceback_later(seconds + RESET_SECONDS, exit=True, file=self._trace)
            self._end = now + seconds + RESET_SECONDS


def marked_place(mark: Path) -> int | None:
    """Place of the record that a process was at when it died; None where none died."""
    try:
        data = mark.read_bytes()
    except FileNotFoundError:
        return None
    return int(_PLACE.unpack(data)[0]) if len(data) == _PLACE.size else 0
