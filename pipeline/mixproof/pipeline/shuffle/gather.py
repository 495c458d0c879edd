"""The first step of a shuffle: the records of consecutive shards, each sorted by hash, written as one run.

A partition is a range of hashes, one of a power of two. In a run, the records of a partition are in the order of their
shards, and ascend by hash within each. Memory: about 80 bytes for each of BLOCK_RECORDS records of 16 bytes; the shards
are mapped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store

from .plan import power_of_two
from .runs import as_bytes, write_run

BLOCK_RECORDS = 1 << 21

Between = Callable[[int, int], NDArray[Any]]
"""Gives the records of a shard whose hash is in [low, high), by hash: a structured array whose first field is the hash,
uint64."""
Open = Callable[[Store, Any], Between]
"""Maps the records of a shard, given by what describes it."""


def bounds_of(number: int, ranges: int) -> tuple[int, int]:
    """Return the bounds [low, high) of one of a power of two ranges of 64-bit hashes."""
    width = 2**64 // ranges
    return number * width, (number + 1) * width


def records_between(store: Store, open_shard: Open, shards: Sequence[Any], number: int, ranges: int) -> NDArray[Any]:
    """Read the records of one range from every shard, in the order of the shards."""
    return np.concatenate([open_shard(store, shard)(*bounds_of(number, ranges)) for shard in shards])


def gather_shards(
    store: Store, stage: str, key: str, open_shard: Open, shards: Sequence[Any], records: int, partitions: int
) -> None:
    """Write the run of some shards, which have about `records` records together."""
    tables = [open_shard(store, shard) for shard in shards]
    blocks = min(partitions, power_of_two(-(-records // BLOCK_RECORDS)))
    with store.attempt(stage, key) as attempt:
        write_run(attempt, _partitions(tables, blocks, partitions))
        attempt.commit()


def _partitions(tables: Sequence[Between], blocks: int, partitions: int) -> Iterator[list[memoryview]]:
    """Yield the records of each partition in one piece."""
    width = partitions // blocks
    shift = np.uint64(64 - (partitions.bit_length() - 1))
    for block in range(blocks):
        found = np.concatenate([table(*bounds_of(block, blocks)) for table in tables])
        assert found.dtype.names is not None
        hashes = found[found.dtype.names[0]]
        numbers = (hashes >> shift) - np.uint64(block * width) if partitions > 1 else np.zeros_like(hashes)
        numbers = numbers.astype(np.uint16 if width <= 1 << 16 else np.uint32)  # 16 bits are sorted in linear time
        found = found[np.argsort(numbers, kind="stable")]
        ends = np.cumsum(np.bincount(numbers, minlength=width)).tolist()
        data, size = as_bytes(found), found.dtype.itemsize
        for start, end in zip([0, *ends], ends, strict=False):
            yield [data[start * size : end * size]]


def records_of(
    hashes: NDArray[np.uint64],
    rows: NDArray[np.uint32],
    keep: NDArray[np.bool_] | None,
    first: int,
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Make records of documents of a shard that an earlier stage kept.

    Args:
        hashes: of each record.
        rows: of its document in the shard.
        keep: of each row; None: all.
        first: number of the shard's first document over all shards of the group.
        dtype: with the fields `hash` and `document`.
    """
    found = np.empty(len(rows), dtype=dtype)
    found["hash"], found["document"] = hashes, rows
    if keep is not None:
        found = found[keep[found["document"]]]
    found["document"] += first
    return found
