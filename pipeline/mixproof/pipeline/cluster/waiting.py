"""Say what a stage waits for when no node of a shared cluster can run its tasks.

A cluster that scales up may start such a node in minutes; one that cannot would let the command wait forever without a
word. The first warning comes after `FIRST_WARNING_SECONDS` without a finished task, further ones at doubled intervals.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from .resources import Needs, Node, can_run

FIRST_WARNING_SECONDS = 60.0


class Waiting:
    """The time since a task of a stage last finished."""

    def __init__(self) -> None:
        self.finished()

    def finished(self) -> None:
        """A task finished."""
        self._since = time.monotonic()
        self._next_warning = FIRST_WARNING_SECONDS

    def due(self) -> float | None:
        """Seconds since a task last finished, if it is time to say what the stage waits for; None otherwise."""
        waited = time.monotonic() - self._since
        if waited < self._next_warning:
            return None
        self._next_warning = 2 * waited
        return waited


def missing_node(pending: Iterable[Needs], nodes: Sequence[Node]) -> str | None:
    """Return a sentence about the nodes that are missing; None if the cluster could run one of the calls."""
    needs = sorted(set(pending), key=lambda need: (need.total().gpus, need.total().cpus))
    if not needs or any(can_run(need, nodes) for need in needs):
        return None
    smallest = needs[0]
    what = (
        f"nodes for {smallest.workers} workers, each with {smallest}" if smallest.workers else f"a node with {smallest}"
    )
    present = "; ".join(sorted(set(map(str, nodes)))) or "none"
    return (
        f"the smallest task needs {what}, and the cluster has {len(nodes)} nodes ({present}). `ray status` shows "
        "whether the autoscaler is starting one; otherwise add what is missing, or stop the command and need less. "
        "Finished work is kept: the same command resumes"
    )
