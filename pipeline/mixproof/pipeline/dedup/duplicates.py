"""Which document was kept instead of each duplicate, read from the lists of losers that deduplication wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.columns import numbers
from mixproof.pipeline.group import shards_of
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.read.by_hash import IDS_SCHEMA, read_rows
from mixproof.pipeline.read.shards import Shard
from mixproof.pipeline.sorted_rows import rows_between

from .edges import Pairs
from .lost_documents import GroupResult

EXACT, FUZZY, SEMANTIC = "exact_duplicate", "fuzzy_duplicate", "semantic_duplicate"

Search = Literal["exact", "fuzzy", "semantic", "paragraphs", "substrings"]

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
    cosines: NDArray[np.float64] | None = None
    """float64 [documents], of each with the document kept instead; None: another similarity decided."""


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
        losers = load_array(store.path(path), mmap_mode="r")
        part = losers[rows_between(losers["shard"], each.shard, each.shard + 1)]
        twins = np.empty(len(part), dtype=TWIN_DTYPE)
        for name in ("row", "keeper", "keeper_row"):
            twins[name] = part[name]
        parts.append(twins)
    return _by_row(parts, EXACT)


def fuzzy_twins(store: Store, each: DuplicateList, shards: Sequence[Shard]) -> Twins:
    """Read the fuzzy duplicates of a shard; `shards` are those of the group."""
    firsts = list(accumulate((shard.documents for shard in shards), initial=0))
    losers = [load_array(store.path(path), mmap_mode="r") for path in each.paths]
    parts = [found[rows_between(found[:, 0], *firsts[each.shard : each.shard + 2])] for found in losers]
    return _by_row([twins_of(part, each.shard, firsts) for part in parts], FUZZY)


def twins_of(losers: Pairs, shard: int, firsts: Sequence[int]) -> NDArray[Any]:
    """The losers of one shard by rows: TWIN_DTYPE [losers].

    Args:
        losers: int64 [losers, 2], (document, keeper), numbered over all shards.
        shard: index of the shard.
        firsts: the number of each shard's first document, and the number of all documents.
    """
    twins = np.empty(len(losers), dtype=TWIN_DTYPE)
    twins["row"] = losers[:, 0] - firsts[shard]
    twins["keeper"] = shards_of(losers[:, 1], firsts[:-1])
    twins["keeper_row"] = losers[:, 1] - np.array(firsts)[twins["keeper"]]
    return twins


def read_keepers(store: Store, shards: Sequence[Shard], twins: NDArray[Any]) -> pa.Table:
    """File, record and id of the document kept instead of each of `twins`, in order; nulls for NO_KEEPER."""
    indices, rows = twins["keeper"].astype(np.int64), twins["keeper_row"].astype(np.int64)
    order = np.argsort(indices, kind="stable")
    used, starts = np.unique(indices[order], return_index=True)
    tables = [
        read_rows(store, shards[index], rows[some], IDS_SCHEMA) if index != NO_KEEPER else _nulls(len(some))
        for index, some in zip(used.tolist(), np.split(order, starts[1:]), strict=True)
    ]
    return pa.concat_tables(tables).take(numbers(np.argsort(order)))


def _nulls(size: int) -> pa.Table:
    return pa.table([pa.nulls(size, field.type) for field in IDS_SCHEMA], schema=IDS_SCHEMA)


def _by_row(parts: Sequence[NDArray[Any]], reason: str) -> Twins:
    rows = np.concatenate(parts)
    return Twins(rows[np.argsort(rows["row"])], [reason] * len(rows))
