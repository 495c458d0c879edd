"""Which document was kept instead of each duplicate, read from the lists of losers that deduplication wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.read.shards import Shard
from mixproof.pipeline.sorted_rows import rows_between

from .edges import shards_of
from .lost_documents import GroupResult

EXACT, FUZZY = "exact_duplicate", "fuzzy_duplicate"

Search = Literal["exact", "fuzzy", "paragraphs"]

TWIN_DTYPE = np.dtype([("row", "<i8"), ("keeper", "<i4"), ("keeper_row", "<i8")])
"""A dropped document and the document kept instead: row in its shard; index of the keeper's shard in the group, and the
keeper's row there."""
NO_KEEPER = -1
"""Stands for the keeper's shard where no other document was kept instead."""


@dataclass(frozen=True)
class Twins:
    """The duplicates that one shard lost to one search."""

    rows: NDArray[Any]
    """TWIN_DTYPE [documents], ascending by row."""
    reasons: Sequence[str]
    """Why each was dropped."""


@dataclass(frozen=True)
class DuplicateList:
    """Where the duplicates that one shard lost to one search are named."""

    search: Search
    shard: int
    """Index of the shard in its group."""
    documents: int
    """Number of documents that the shard lost."""
    paths: tuple[str, ...]
    """Files of the search, relative to the store; they may name documents of other shards too."""


@dataclass(frozen=True)
class GroupDuplicates:
    """The duplicates of a group of sources."""

    shards: tuple[Shard, ...]
    """In order of priority."""
    lists: tuple[DuplicateList, ...]


def lists_of(search: Search, found: GroupResult) -> list[DuplicateList]:
    """Return one entry for each shard that lost documents to a search."""
    lost: Counter[int] = Counter()
    for loss in found.losses:
        lost[loss.loser] += loss.documents
    return [DuplicateList(search, shard, lost[shard], paths) for shard, paths in sorted(found.losers.items())]


def exact_twins(store: Store, each: DuplicateList) -> Twins:
    """Read the exact duplicates of a shard."""
    parts = []
    for path in each.paths:
        losers = np.load(store.path(path), mmap_mode="r")
        part = losers[rows_between(losers["shard"], each.shard, each.shard + 1)]
        twins = np.empty(len(part), dtype=TWIN_DTYPE)
        for name in ("row", "keeper", "keeper_row"):
            twins[name] = part[name]
        parts.append(twins)
    return _by_row(parts, EXACT)


def fuzzy_twins(store: Store, each: DuplicateList, shards: Sequence[Shard]) -> Twins:
    """Read the fuzzy duplicates of a shard; `shards` are those of the group."""
    firsts = list(accumulate((shard.documents for shard in shards), initial=0))
    first, end = firsts[each.shard], firsts[each.shard + 1]
    parts = []
    for path in each.paths:
        losers = np.load(store.path(path), mmap_mode="r")
        part = np.array(losers[rows_between(losers[:, 0], first, end)])
        twins = np.empty(len(part), dtype=TWIN_DTYPE)
        twins["row"] = part[:, 0] - first
        twins["keeper"] = shards_of(part[:, 1], firsts[:-1])
        twins["keeper_row"] = part[:, 1] - np.array(firsts)[twins["keeper"]]
        parts.append(twins)
    return _by_row(parts, FUZZY)


def _by_row(parts: Sequence[NDArray[Any]], reason: str) -> Twins:
    rows = np.concatenate(parts)
    return Twins(rows[np.argsort(rows["row"])], [reason] * len(rows))
