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
        """Let the part begin; yield what it finds.

        Raises:
            PartFailedError: when it raised, crashed, or was not done after `limit_seconds` and was ended.
        """
        deadline = time.monotonic() + limit_seconds
        try:
            with suppress(BrokenPipeError):  # it has crashed, and is reported below
                self._ours.send("begin")
            while True:
                if not self._ours.poll(max(deadline - time.monotonic(), 0)):
                    raise PartFailedError(f"not done after {limit_seconds:.0f} s, ended")
                try:
                    found = self._ours.recv()
                except (EOFError, ConnectionResetError):
                    raise PartFailedError(self._death()) from None
                if found is None:
                    return
                if isinstance(found, str):
                    raise PartFailedError(found)
                yield found
        finally:
            self.end()

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
        pipe.recv()
        work(Part(pipe))
    except BaseException as error:  # noqa: BLE001  it is reported, and the process ends
        last = reason_of(error)
    pipe.send(last)
    pipe.close()
    sys.stdout.flush()
    os._exit(0)  # an interpreter whose CUDA context is broken may hang at its end
