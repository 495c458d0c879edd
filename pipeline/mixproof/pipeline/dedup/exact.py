"""Exact deduplication of a group of sources: of documents with equal texts the first one stays.

Two documents are exact copies when the xxh3_128 and the length of their texts are equal. The keeper is the first by
(declared priority of its source, source name, file, record). Reading wrote each shard's hashes into a sorted file, so
a range of hashes is one slice of every shard: one task takes one range from all shards, sorts it and lists the losers;
then tasks over shards turn the losers into bitmaps. If there are many shards and ranges, the hashes are regrouped first
(`shuffle/`). Memory is bounded by the documents in a range: about 4 million, at 120 bytes each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.read.by_hash import HASHED_DTYPE, documents_in
from mixproof.pipeline.read.shards import HASHES, PROMPTS, Shard
from mixproof.pipeline.shuffle.gather import Between
from mixproof.pipeline.shuffle.plan import power_of_two
from mixproof.pipeline.shuffle.shuffle import Ranges, Shuffle, Table

from .exact_bitmaps import apply_ranges
from .keepers import LOSERS
from .loser_blocks import Search
from .lost_documents import GroupResult

STAGE = "dedup"
LABEL = "dedup"
VERSION = 2
RANGE_DOCUMENTS = 4_000_000

LOSER_DTYPE = np.dtype([("shard", "<i4"), ("keeper", "<i4"), ("bytes", "<i8"), ("row", "<i8"), ("keeper_row", "<i8")])
"""A dropped document: index of its shard in the group, index of its keeper's shard, UTF-8 bytes, row in its shard, row
of its keeper in the keeper's shard."""


def deduplicate_exactly(
    shards: Sequence[Shard], store: Store, cluster: Cluster, by_prompt: Sequence[bool] = ()
) -> GroupResult:
    """Deduplicate a group's shards, given in order of priority.

    Args:
        shards: of the group.
        store: where outputs go.
        cluster: runs the tasks.
        by_prompt: whether the documents of each shard are conversations that are compared by their prompts.
    """
    config = {"by_prompt": list(by_prompt)} if any(by_prompt) else {}
    identity = [shard.documents_sha256 for shard in shards]
    ranges = range_count(sum(shard.documents for shard in shards))
    numbers = {stage_key(STAGE, VERSION, {"range": [n, ranges], **config}, identity): n for n in range(ranges)}

    def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
        hashes = _by_range(shards, ranges, store, cluster, by_prompt)
        return [(store, key, hashes, number, by_prompt) for key, number in missing.items()]

    receipts = run_missing(store, STAGE, numbers, calls, find_losers, cluster, LABEL)
    search = Search(STAGE, VERSION, stage_key(STAGE, VERSION, {"group": True}, identity), "dedup bitmaps")
    return apply_ranges(search, shards, receipts, list(numbers), store, cluster)


@dataclass(frozen=True)
class HashedShard:
    """The sorted hashes of one shard."""

    path: str
    """Their file in the store."""
    index: int
    """Of the shard in its group."""


def open_hashes(store: Store, shard: HashedShard) -> Between:
    """Map the hashes of a shard."""
    return partial(documents_in, load_array(store.path(shard.path), mmap_mode="r"), shard.index)


def _by_range(
    shards: Sequence[Shard], ranges: int, store: Store, cluster: Cluster, by_prompt: Sequence[bool]
) -> Ranges:
    """Make the hashes readable by range; with many shards this regroups them."""
    names = [PROMPTS if prompts else HASHES for prompts in by_prompt or [False] * len(shards)]
    members = [
        HashedShard(f"{shard.folder}/{name}", index)
        for index, (shard, name) in enumerate(zip(shards, names, strict=True))
    ]
    identity = stage_key(STAGE, VERSION, {"hashes": names}, [shard.documents_sha256 for shard in shards])
    table, documents = Table(open_hashes, HASHED_DTYPE), [shard.documents for shard in shards]
    return Shuffle(STAGE, LABEL, store, cluster).by_range(identity, table, members, documents, ranges)


def range_count(documents: int) -> int:
    """Return the number of hash ranges, a power of two, such that a task holds about 4 million documents."""
    return power_of_two(-(-documents // RANGE_DOCUMENTS))


def find_losers(store: Store, key: str, hashes: Ranges, number: int, by_prompt: Sequence[bool] = ()) -> None:
    """Write the losers of hash range `number` over all shards, sorted by shard and row.

    With few shards and ranges, the fact `lost` states what each shard lost to each other one.
    """
    losers = losers_of(hashes.read(store, number), np.array(by_prompt, np.bool_) if any(by_prompt) else None)
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(LOSERS).open("wb") as file:
            np.save(file, losers, allow_pickle=False)
        attempt.commit(facts={} if hashes.is_shuffled else {"lost": _sums(losers)})


def losers_of(documents: NDArray[Any], by_prompt: NDArray[np.bool_] | None = None) -> NDArray[Any]:
    """Return all but the first (by shard, row) of the documents with equal hash and length.

    Args:
        documents: HASHED_DTYPE [documents], in any order.
        by_prompt: bool [shards], whether the hashes of a shard are those of prompts, so that lengths do not count.

    Returns:
        LOSER_DTYPE [losers], sorted by shard and row.
    """
    sizes = documents["bytes"]
    if by_prompt is not None:
        sizes = np.where(by_prompt[documents["shard"]], 0, sizes)
    order = np.lexsort((documents["row"], documents["shard"], sizes, documents["low"], documents["high"]))
    ordered, sizes = documents[order], sizes[order]
    is_copy = np.zeros(len(ordered), dtype=np.bool_)
    is_copy[1:] = (
        (ordered["high"][1:] == ordered["high"][:-1])
        & (ordered["low"][1:] == ordered["low"][:-1])
        & (sizes[1:] == sizes[:-1])
    )
    keeper = np.maximum.accumulate(np.where(is_copy, 0, np.arange(len(ordered))))
    losers = np.empty(int(is_copy.sum()), dtype=LOSER_DTYPE)
    for name in ("shard", "bytes", "row"):
        losers[name] = ordered[name][is_copy]
    losers["keeper"] = ordered["shard"][keeper[is_copy]]
    losers["keeper_row"] = ordered["row"][keeper[is_copy]]
    return losers[np.lexsort((losers["row"], losers["shard"]))]


def _sums(losers: NDArray[Any]) -> list[list[int]]:
    """Return rows [shard, keeper's shard, documents, bytes], sorted."""
    pairs, inverse = np.unique(losers[["shard", "keeper"]], return_inverse=True)
    documents = np.bincount(inverse, minlength=len(pairs))
    sizes = np.zeros(len(pairs), dtype=np.int64)
    np.add.at(sizes, inverse, losers["bytes"])
    return [
        [int(pair["shard"]), int(pair["keeper"]), int(count), int(size)]
        for pair, count, size in zip(pairs, documents, sizes, strict=True)
    ]
