"""Say what a stage waits for when no node of a shared cluster can run its tasks.

A cluster that scales up may start such a node in minutes; one that cannot would let the command wait forever without a
word. The first warning comes after `FIRST_WARNING_SECONDS` without a finished task, further ones at doubled intervals.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence

from .resources import Needs

log = logging.getLogger(__name__)

FIRST_WARNING_SECONDS = 60.0


class Waiting:
    """The time since a task of a stage last finished."""

    def __init__(self, label: str) -> None:
        self._label = label
        self.finished()

    def finished(self) -> None:
        """A task finished."""
        self._since = time.monotonic()
        self._next_warning = FIRST_WARNING_SECONDS

    def warn(self, pending: Iterable[Needs], nodes: Sequence[Mapping[str, float]]) -> None:
        """Log a warning if it is due and no node could run any of the pending calls.

        Args:
            pending: what each of them needs.
            nodes: all resources of each node of the cluster.
        """
        waited = time.monotonic() - self._since
        if waited < self._next_warning:
            return
        self._next_warning = 2 * waited
        if missing := missing_node(pending, nodes):
            log.warning("%s: %.0f s without a finished task; %s", self._label, waited, missing)


def missing_node(pending: Iterable[Needs], nodes: Sequence[Mapping[str, float]]) -> str | None:
    """Return a sentence about the node that is missing; None if one of the calls fits on a node."""
    needs = sorted(set(pending), key=lambda need: (need.gpus, need.cpus))
    if not needs or any(
        need.cpus <= node.get("CPU", 0) and need.gpus <= node.get("GPU", 0) for need in needs for node in nodes
    ):
        return None
    present = ", ".join(sorted({str(Needs(node.get("CPU", 0), node.get("GPU", 0))) for node in nodes})) or "none"
    return (
        f"the smallest task needs a node with {needs[0]}, and the cluster has {len(nodes)} nodes ({present}). `ray "
        "status` shows whether the autoscaler is starting one; otherwise add such a node, or stop the command and need "
        "less. Finished work is kept: the same command resumes"
    )
