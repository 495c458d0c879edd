"""Each part of `gpu.py` runs in a process of its own: a crash, a hang or a lost device costs that part alone.

The main process never uses CUDA. A part's process imports while the part before it runs, and waits to be told to begin.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection

from gpu_report import Judgement, Part, Row, reason_of

CONTEXT = multiprocessing.get_context("fork")
Work = Callable[[Part], None]
READY = "ready"
IMPORT_SECONDS = 180
"""Packages of several gigabytes are read from a disk that may be cold."""


class PartFailedError(Exception):
    """A part ended without finishing."""


class Child:
    """The process of a part."""

    def __init__(self, prepare: Callable[[], Work]) -> None:
        """Start the process, which calls `prepare` at once.

        Args:
            prepare: imports what the part needs, and returns its work.
        """
        self._ours, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=_serve, args=(prepare, theirs), daemon=False)
        self._process.start()
        theirs.close()

    def findings(self, limit_seconds: float) -> Iterator[Row | Judgement]:
        """Let the part begin once it has imported; yield what it finds.

        Raises:
            PartFailedError: when it raised, crashed, or was not done after `limit_seconds` and was ended.
        """
        try:
            if (failure := self._next(time.monotonic() + IMPORT_SECONDS, f"no import in {IMPORT_SECONDS} s")) != READY:
                raise PartFailedError(str(failure))
            deadline = time.monotonic() + limit_seconds
            with suppress(BrokenPipeError):  # it has crashed, and is reported below
                self._ours.send("begin")
            while (found := self._next(deadline, f"not done after {limit_seconds:.0f} s, ended")) is not None:
                if isinstance(found, str):
                    raise PartFailedError(found)
                yield found
        finally:
            self.end()

    def _next(self, deadline: float, late: str) -> Row | Judgement | str | None:
        """The next message: a finding, READY, an error, or None at the end."""
        if not self._ours.poll(max(deadline - time.monotonic(), 0)):
            raise PartFailedError(late)
        try:
            message: Row | Judgement | str | None = self._ours.recv()
        except (EOFError, ConnectionResetError):
            raise PartFailedError(self._death()) from None
        return message

    def end(self) -> None:
        """End the process and everything that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.join()
        self._ours.close()

    def _death(self) -> str:
        self._process.join()
        code = self._process.exitcode or 0
        return f"crashed: {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"


def _serve(prepare: Callable[[], Work], pipe: Connection) -> None:
    """Prepare, wait for the word, work; the last message is None, or the error."""
    os.setsid()  # so that it is ended with what it starts
    last: str | None = None
    try:
        work = prepare()
        pipe.send(READY)
        pipe.recv()
        work(Part(pipe))
    except BaseException as error:  # noqa: BLE001  it is reported, and the process ends
        last = reason_of(error)
    pipe.send(last)
    pipe.close()
    sys.stdout.flush()
    os._exit(0)  # an interpreter whose CUDA context is broken may hang at its end
