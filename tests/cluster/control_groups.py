"""Control groups of this machine's kernel, version 1 or 2: limits of memory for the processes of a node."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


def limit_memory(name: str, pids: Iterable[int], more: int) -> None:
    """Move processes to a group of their own, in which they may take `more` bytes in addition to what they have.

    Processes that they start later belong to the group as well.
    """
    group = _group(name)
    group.mkdir(exist_ok=True)
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended
            (group / "cgroup.procs").write_text(str(pid))
    limit = "memory.limit_in_bytes" if V1.is_dir() else "memory.max"
    (group / limit).write_text(str(more))


def free_memory(name: str) -> None:
    """Move a group's processes back and remove it, if there is one."""
    group = _group(name)
    if not group.is_dir():
        return
    while pids := (group / "cgroup.procs").read_text().split():
        for pid in pids:
            with contextlib.suppress(OSError):
                (group.parent / "cgroup.procs").write_text(pid)
    group.rmdir()


def _group(name: str) -> Path:
    return (V1 if V1.is_dir() else V2) / f"mixproof-{name}"
