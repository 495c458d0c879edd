"""Small inputs share a task: a task costs some milliseconds, and a source may have a million small files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar, cast

from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import Call

from .shards import SHARD_BYTES, Shard

T = TypeVar("T")
SHARDS_PER_TASK = 64
LEAST_BYTES = 1_000_000
"""Inputs smaller than this together share a task even where CPUs are free: reading them takes about 0.1 s."""


def in_batches(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Yield batches of `size` items, in order; the last one may be smaller."""
    left = iter(items)
    while batch := tuple(islice(left, size)):
        yield batch


def share_tasks(
    items: Iterable[T], bytes_of: Callable[[T], int], *, most_bytes: int, most_items: int, tasks: int = 1
) -> list[tuple[T, ...]]:
    """Group items in their order; an item larger than the limit gets a group of its own.

    Args:
        items: the inputs of tasks.
        bytes_of: the size of one.
        most_bytes: limit for a group of several items.
        most_items: limit for any group.
        tasks: number of groups that keep all CPUs busy (`Cluster.parallel_tasks`). Groups have about this share of all
            bytes, and at least LEAST_BYTES, if that is below `most_bytes`.
    """
    sized = [(item, bytes_of(item)) for item in items]
    limit = min(most_bytes, max(LEAST_BYTES, sum(size for _, size in sized) // tasks))
    batches: list[list[T]] = []
    group_bytes = 0
    for item, size in sized:
        if not batches or group_bytes + size > limit or len(batches[-1]) >= most_items:
            batches.append([])
            group_bytes = 0
        batches[-1].append(item)
        group_bytes += size
    return [tuple(batch) for batch in batches]


def share_shards(shards: Mapping[str, Shard], cluster: Cluster) -> list[tuple[tuple[str, Shard], ...]]:
    """Group shards by the size of their texts, each with the key of its result; the largest come first.

    The order lets all workers end at about the same time.
    """
    largest_first = sorted(shards.items(), key=lambda item: (-item[1].text_bytes, item[0]))
    return share_tasks(
        largest_first,
        lambda item: item[1].text_bytes,
        most_bytes=SHARD_BYTES,
        most_items=SHARDS_PER_TASK,
        tasks=cluster.parallel_tasks(),
    )


def text_bytes_of(shards: Mapping[str, Shard]) -> Callable[[Call], int]:
    """Bytes of the texts that a call reads whose last argument is a list of (key, folder) of shards; for progress."""

    def text_bytes(call: Call) -> int:
        return sum(shards[key].text_bytes for key, _ in cast(Sequence[tuple[str, str]], call[-1]))

    return text_bytes
