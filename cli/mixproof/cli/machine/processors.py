"""Processors and memory, as many as this process may use: by its affinity and by the limits of its cgroups.

A container sees all processors and the whole memory of its host; what it may use is in its cgroup, in version 2 as
`cpu.max` and `memory.max` of the group and of every group above it (kernel documentation, admin-guide/cgroup-v2), in
version 1 as `cpu.cfs_quota_us` and `memory.limit_in_bytes`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
NO_LIMIT = 1 << 60
"""Version 1 writes the largest page-aligned number where there is no limit."""


@dataclass(frozen=True)
class Processors:
    """Logical processors."""

    present: int
    usable: float
    """After affinity and the cgroup's quota, which may be a fraction."""


@dataclass(frozen=True)
class Memory:
    """Bytes of memory."""

    total: int
    available: int
    limit: int | None
    """Of the cgroup; None where there is none."""


def find_processors(cgroups: Path = CGROUPS) -> Processors:
    """Count the processors of the machine, and those that this process may use."""
    present = os.cpu_count() or 1
    usable = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else present)
    for group in _groups(cgroups):
        quota = _numbers(group / "cpu.max")
        if len(quota) == 2 and quota[1]:
            usable = min(usable, quota[0] / quota[1])
    old = [*_numbers(cgroups / "cpu/cpu.cfs_quota_us"), *_numbers(cgroups / "cpu/cpu.cfs_period_us")]
    if len(old) == 2 and old[0] > 0 and old[1]:
        usable = min(usable, old[0] / old[1])
    return Processors(present, usable)


def find_memory(cgroups: Path = CGROUPS) -> Memory:
    """Measure the memory of the machine, and the limit of this process."""
    seen = psutil.virtual_memory()
    limits = [number for group in _groups(cgroups) for number in _numbers(group / "memory.max")]
    limits += [number for number in _numbers(cgroups / "memory/memory.limit_in_bytes") if number < NO_LIMIT]
    limit = min(limits, default=None)
    return Memory(seen.total, seen.available, limit if limit is not None and limit < seen.total else None)


def _groups(cgroups: Path) -> Iterator[Path]:
    """The cgroup of this process, in version 2, and every one above it."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:  # a system without cgroups
        lines = []
    own = next((line[3:] for line in lines if line.startswith("0::")), "/")
    group = cgroups / own.lstrip("/")
    while group != cgroups and cgroups in group.parents:
        yield group
        group = group.parent
    yield cgroups


def _numbers(path: Path) -> list[int]:
    """The numbers of a control file; none where it does not exist or says `max`."""
    try:
        words = path.read_text().split()
    except OSError:
        return []
    return [int(word) for word in words] if words and all(word.lstrip("-").isdigit() for word in words) else []
