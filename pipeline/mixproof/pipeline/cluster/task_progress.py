"""What a cluster reports while it runs the tasks of a stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

START = "start"
"""Label of the start of Ray, or of joining a cluster; it is one task."""


@dataclass(frozen=True)
class TaskProgress:
    """How many tasks of a stage are finished."""

    label: str
    """Of the stage's tasks."""
    done: int
    total: int
    bytes_done: int = 0
    """Input bytes of the finished tasks."""
    bytes_total: int = 0
    """Input bytes of all tasks; 0 if it is not known."""


OnProgress = Callable[[TaskProgress], None]


class StageProgress:
    """Counts a stage's finished calls and their bytes, and reports at the start and after each of them."""

    def __init__(self, on_progress: OnProgress | None, label: str, calls: int, call_bytes: Sequence[int] = ()) -> None:
        self._on_progress = on_progress
        self._call_bytes = call_bytes
        self._now = TaskProgress(label, 0, calls, 0, sum(call_bytes))
        self._report()

    def finished(self, call: int) -> None:
        """Count one finished call."""
        size = self._call_bytes[call] if self._call_bytes else 0
        self._now = replace(self._now, done=self._now.done + 1, bytes_done=self._now.bytes_done + size)
        self._report()

    def _report(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self._now)
