"""How records are regrouped from shards to partitions: in which groups and levels, as arithmetic.

A task over one range of hashes has to read a slice of every shard, which opens shards x ranges files. So consecutive
shards are first gathered into runs of up to RUN_RECORDS records. If there are more than FAN_IN runs, FAN_IN of them are
merged at a time into as many as keep the size of a run near RUN_BYTES, each with its own part of the partitions. So a
level opens each run of the previous one at most FAN_IN times, and with n runs there are log(n) / log(FAN_IN) levels,
rounded down: one above a thousand runs (60 billion records), two above a million.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST_OPENINGS = 1 << 16
"""Files that all tasks together may open by reading a slice of every shard. Above it, shards are gathered first."""
RUN_SHARDS = 128
"""Shards of a run: all of them are mapped into memory, with up to two files each."""
RUN_RECORDS = 1 << 26
RUN_BYTES = 1 << 30
FAN_IN = 1 << 10


@dataclass(frozen=True)
class Level:
    """The runs after one round of merging: one for each group of earlier runs and each segment of the partitions."""

    groups: int
    segments: int

    def bounds(self, segment: int, partitions: int) -> tuple[int, int]:
        """The first partition of a segment, and the one after its last; `partitions` is a power of two."""
        width = partitions // self.segments
        return segment * width, (segment + 1) * width


def merged_from(group: int, groups: int) -> range:
    """The earlier groups that are merged into `group`; `groups`: number of earlier groups."""
    return range(group * FAN_IN, min(groups, (group + 1) * FAN_IN))


def is_direct(shards: int, ranges: int) -> bool:
    """Whether each task may read its slice of every shard."""
    return shards * ranges <= MOST_OPENINGS


def power_of_two(least: int) -> int:
    """The smallest power of two that is not below `least`."""
    return 1 << max(0, least - 1).bit_length()


def gathered(records: Sequence[int]) -> list[tuple[int, int]]:
    """Divide consecutive shards into runs, given as [first, last); `records`: of each shard."""
    runs: list[tuple[int, int]] = []
    held = 0
    for shard, size in enumerate(records):
        if not runs or held + size > RUN_RECORDS or shard - runs[-1][0] >= RUN_SHARDS:
            runs.append((shard, shard))
            held = 0
        runs[-1] = (runs[-1][0], shard + 1)
        held += size
    return runs


def levels(runs: int, partitions: int, total_bytes: int) -> list[Level]:
    """The levels of merging after which no partition is in more than FAN_IN runs.

    Args:
        runs: number of runs, each of which has all partitions.
        partitions: a power of two.
        total_bytes: of all runs.
    """
    found: list[Level] = []
    level = Level(runs, 1)
    while level.groups > FAN_IN:
        groups = -(-level.groups // FAN_IN)
        level = Level(groups, min(partitions, power_of_two(-(-total_bytes // (groups * RUN_BYTES)))))
        found.append(level)
    return found
