"""Small inputs that share a task: a task costs some milliseconds, so a thousand small files take a few."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

from .shards import SHARD_BYTES

if TYPE_CHECKING:
    from .documents import Shard

T = TypeVar("T")
SHARDS_PER_TASK = 64


def share_tasks(
    items: Iterable[T], bytes_of: Callable[[T], int], *, most_bytes: int, most_items: int
) -> list[tuple[T, ...]]:
    """Group items in their order; one that is larger than `most_bytes` is alone.

    Args:
        items: what tasks are given.
        bytes_of: how large one is.
        most_bytes: of a group of several.
        most_items: of a group.
    """
    batches: list[list[T]] = []
    held = 0
    for item in items:
        size = bytes_of(item)
        if not batches or held + size > most_bytes or len(batches[-1]) >= most_items:
            batches.append([])
            held = 0
        batches[-1].append(item)
        held += size
    return [tuple(batch) for batch in batches]


def share_shards(shards: Mapping[str, Shard]) -> list[tuple[tuple[str, Shard], ...]]:
    """Group shards by the size of their texts, each with the key of what is made of it; the largest come first.

    So no worker ends long after the others.
    """
    largest_first = sorted(shards.items(), key=lambda item: (-item[1].text_bytes, item[0]))
    return share_tasks(
        largest_first, lambda item: item[1].text_bytes, most_bytes=SHARD_BYTES, most_items=SHARDS_PER_TASK
    )
