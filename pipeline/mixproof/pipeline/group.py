"""The shards of a group of sources in order of priority, saved as one file that all tasks of a search read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
import orjson
from numpy.typing import NDArray

from mixproof.ledger.store import Store

SHARDS = "shards.json"

Documents = NDArray[np.int64]
"""Documents by their number over all shards of a group: int64 [documents]."""


@dataclass(frozen=True)
class GroupShard:
    """One shard of a group, as a search over the group sees it."""

    folder: str
    """Folder in the store of what was computed from the shard for this search."""
    first: int
    """Number of documents in all shards before this one."""
    bitmap: str | None
    """Path in the store of the bitmap of participating rows; None: all rows."""
    source: str = ""


def save_group(store: Store, stage: str, group: str, shards: Sequence[GroupShard]) -> None:
    """Write the list of a group's shards, unless it is there already; `group` is its key."""
    if store.receipt(stage, group) is None:
        with store.attempt(stage, group) as attempt:
            attempt.path(SHARDS).write_bytes(orjson.dumps([asdict(shard) for shard in shards]))
            attempt.commit()


def load_group(store: Store, stage: str, group: str) -> tuple[GroupShard, ...]:
    """Read the shards of a group, in order; a process caches the last group it read."""
    return _load(str(store), stage, group)


@lru_cache(maxsize=1)
def _load(store: str, stage: str, group: str) -> tuple[GroupShard, ...]:
    path = Store(store).path(f"{stage}/{group}/{SHARDS}")
    return tuple(GroupShard(**each) for each in orjson.loads(path.read_bytes()))


def shards_of(documents: Documents, firsts: Sequence[int]) -> NDArray[np.int64]:
    """Return the index of each document's shard; an empty shard has the same first document as the next one."""
    return np.searchsorted(np.array(firsts, dtype=np.int64), documents, side="right") - 1
