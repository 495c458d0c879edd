"""The shards of a group of sources, in order of priority, in a file for all tasks that look through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import orjson

from mixproof.ledger.store import Store

SHARDS = "shards.json"


@dataclass(frozen=True)
class GroupShard:
    """A shard as a search over the group sees it."""

    folder: str
    """Of what was made of it for the search, in the store."""
    first: int
    """Documents of all shards before it."""
    bitmap: str | None
    """Path in the store of the rows that take part; None: all."""
    source: str = ""


def save_group(store: Store, stage: str, group: str, shards: Sequence[GroupShard]) -> None:
    """Write the list of a group's shards once; `group` is its key."""
    if store.receipt(stage, group) is None:
        with store.attempt(stage, group) as attempt:
            attempt.path(SHARDS).write_bytes(orjson.dumps([asdict(shard) for shard in shards]))
            attempt.commit()


@lru_cache(maxsize=1)
def load_group(store_url: str, stage: str, group: str) -> tuple[GroupShard, ...]:
    """The shards of a group, in order; a process keeps the last group's."""
    path = Store(store_url).path(f"{stage}/{group}/{SHARDS}")
    return tuple(GroupShard(**each) for each in orjson.loads(path.read_bytes()))
