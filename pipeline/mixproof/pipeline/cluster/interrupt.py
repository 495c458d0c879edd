"""Ctrl-C that is not lost: what Python raises for it can end inside a callback of Ray, which ignores exceptions."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interrupts:
    """Notes Ctrl-C beside raising KeyboardInterrupt, so that a loop can raise it again."""

    def __init__(self) -> None:
        self._noted = False
        self._watching = False

    def watch(self) -> None:
        """Note Ctrl-C from now on; nothing changes where somebody else handles it, or outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._watching = True

    def ignore(self) -> None:
        """Give Ctrl-C back to Python."""
        if self._watching:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._watching = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self._noted:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted = True
        signal.default_int_handler(number, frame)
