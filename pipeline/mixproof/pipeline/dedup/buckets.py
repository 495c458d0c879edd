"""Buckets: documents with the same band hash, found in one range of band hashes over all shards.

A bucket of more than MAX_BUCKET documents is divided into pieces, each starting with the last document of the previous
one. Memory: 44 bytes for each of about 4 million band records, and 60 bytes for those of one part of the range.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.group import Documents, GroupShard
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.shuffle.gather import Between, records_of
from mixproof.pipeline.shuffle.plan import power_of_two
from mixproof.pipeline.shuffle.shuffle import Table
from mixproof.pipeline.sorted_rows import rows_between
from mixproof.pipeline.stored_array import open_array
from mixproof.pipeline.words.ngrams import ranges as index_ranges

from .signatures import BAND_ROWS, BANDS

RANGE_RECORDS = 4_000_000
PART_RECORDS = 500_000
"""About how many band records are put into buckets at a time."""
MAX_BUCKET = 1 << 15
CHUNK = 1 << 17
"""Documents whose signatures are held in memory."""

Buckets = tuple[Documents, NDArray[np.int64]]
"""The documents of one bucket after another, ascending in each; and the number of documents in each, at least 2."""

BAND_DTYPE = np.dtype([("hash", "<u8"), ("document", "<i8")])
"""A band of a document: the band's hash, the document's number over all shards of the group."""


def range_count(records: int) -> int:
    """Return the number of ranges of band hashes, a power of two, such that a task holds about 4 million records."""
    return power_of_two(-(-records // RANGE_RECORDS))


def open_bands(store: Store, shard: GroupShard) -> Between:
    """Map the bands of a shard."""
    hashes, rows = (open_array(store, f"{shard.folder}/{name}") for name in (BANDS, BAND_ROWS))
    keep = None if shard.bitmap is None else load_array(store.path(shard.bitmap))
    return partial(_bands_between, hashes, rows, keep, shard.first)


def _bands_between(
    hashes: NDArray[np.uint64],
    rows: NDArray[np.uint32],
    keep: NDArray[np.bool_] | None,
    first: int,
    low: int,
    high: int,
) -> NDArray[Any]:
    part = rows_between(hashes, low, high)
    return records_of(hashes[part], rows[part], keep, first, BAND_DTYPE)


BAND_TABLE = Table(open_bands, BAND_DTYPE)


def buckets(records: NDArray[Any]) -> Iterator[Buckets]:
    """Yield the buckets of a range, about CHUNK documents at a time.

    Args:
        records: BAND_DTYPE, the records of all shards; documents ascend where hashes are equal.
    """
    for hashes, documents in parts(records):
        starts, sizes = bucket_sizes(hashes)
        for first, last in _chunks(sizes):
            yield documents[index_ranges(starts[first:last], sizes[first:last])], sizes[first:last]


def parts(records: NDArray[Any]) -> Iterator[tuple[NDArray[np.uint64], Documents]]:
    """Yield hashes and documents, sorted, in parts of about PART_RECORDS that do not split equal hashes."""
    if not len(records):
        return
    hashes, count = np.ascontiguousarray(records["hash"]), max(1, len(records) // PART_RECORDS)
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    low, high = int(hashes[0]), int(hashes[-1])
    cuts = np.array([low + (high - low) * part // count for part in range(1, count)], dtype=np.uint64)
    for start, end in pairwise([0, *np.searchsorted(hashes, cuts).tolist(), len(hashes)]):
        yield hashes[start:end], records["document"][order[start:end]]


def bucket_sizes(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return start and size of every bucket of at least two, in sorted hashes; very large buckets in pieces."""
    begins = np.ones(len(hashes), dtype=np.bool_)
    begins[1:] = hashes[1:] != hashes[:-1]
    starts = np.flatnonzero(begins)
    sizes = np.diff(np.append(starts, len(hashes)))
    starts, sizes = starts[sizes > 1], sizes[sizes > 1]
    step = MAX_BUCKET - 1
    pieces = np.maximum(1, -(-(sizes - 1) // step))
    within = index_ranges(np.zeros_like(pieces), pieces) * step
    return np.repeat(starts, pieces) + within, np.minimum(np.repeat(sizes, pieces) - within, MAX_BUCKET)


def _chunks(sizes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield ranges of consecutive buckets that together have about CHUNK documents."""
    ends = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        done = int(ends[first] - sizes[first])
        last = max(first + 1, int(np.searchsorted(ends, done + CHUNK, side="right")))
        yield first, last
        first = last
