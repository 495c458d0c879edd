"""What a cluster reports while it runs the tasks of a stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
