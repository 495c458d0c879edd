"""A source's documents in ascending order of their text hashes, independent of its shards.

Reading saves the hashes of each shard in a sorted file (`read.py`), so the documents of a range of hashes are one slice
of every shard. The first range fetched is as wide as the caller expects to need, the next one doubles it, and so on. A
caller that takes 2% of a source therefore reads about 2% of its hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.account import Count
from mixproof.ledger.store import Store
from mixproof.pipeline.bitmap import Bitmap, read_bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.columns import array_of, column_of, numbers, table_of
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.sorted_rows import rows_between

from .batches import SHARDS_PER_TASK
from .documents import SourceDocuments
from .shards import DOCUMENTS, HASHES, Shard

T = TypeVar("T")
HASH_SPACE = 1 << 64
FIRST_RANGE_SLACK = Fraction(5, 4)
"""The first range of hashes is this much wider than an even spread would need."""

HASHED_DTYPE = np.dtype([("high", "<u8"), ("low", "<u8"), ("bytes", "<i8"), ("row", "<i8"), ("shard", "<i4")])
"""A document: the halves of its text's xxh3_128, UTF-8 bytes, row in its shard, index of the shard."""

ROWS_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("record", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("text", pa.large_string()),
    ]
)
CONVERSATION_SCHEMA = pa.schema(
    [*ROWS_SCHEMA, pa.field("text_xxh128", pa.binary(16)), pa.field("marks", pa.large_string())]
)
SMALL_BYTES = 1 << 20
"""Calls that read less than this run in this process: for each of many small sources, two tasks on Ray would take
longer than what they do.
"""
HASH_BYTES = 32
"""Bytes of a document in the file of hashes."""
IDS_SCHEMA = pa.schema([ROWS_SCHEMA.field(name) for name in ("file", "record", "id")])


def in_hash_order(
    source: SourceDocuments,
    keep: Sequence[Bitmap | None],
    store: Store,
    cluster: Cluster | None,
    *,
    expected: Fraction,
    label: str | None = None,
    first: int = 0,
) -> Iterator[NDArray[Any]]:
    """All kept documents with distinct texts in ascending hash order, as arrays of HASHED_DTYPE.

    Of documents with the same text, only the first by (file, record) is included. Conversations are in the order of the
    hashes of their prompts instead, and all of them are included: those that share a prompt are in the same array.

    Args:
        source: the documents.
        keep: which documents earlier stages kept, one bitmap per shard.
        store: where the shards are.
        cluster: runs the tasks; None: the source is small (`is_small`), so there are none.
        expected: the share of the source, above 0, that the caller expects to take.
        label: names the tasks in progress. None: they look for held-out documents.
        first: the upper half of the hash to start from.
    """
    groups = _groups(source, keep)
    low, width = first, int(expected * FIRST_RANGE_SLACK * HASH_SPACE) + 1
    high = min(HASH_SPACE, low + width)
    while low < HASH_SPACE:
        calls = [(store, group, low, high, source.hashes) for group in groups]
        parts = _run(find_range, calls, _hash_bytes(source), cluster, label or f"{source.name}: by hash")
        found = np.concatenate([np.empty(0, dtype=HASHED_DTYPE), *parts])
        yield first_of_each(found) if source.kind is None else in_order(found)
        low, high, width = high, min(HASH_SPACE, high + width), 2 * width


def count_between(
    source: SourceDocuments,
    keep: Sequence[Bitmap | None],
    store: Store,
    cluster: Cluster,
    low: int,
    high: int,
    *,
    label: str,
) -> Count:
    """Count the kept documents whose hash's upper half is in [low, high), copies included."""
    calls = [(store, group, low, high, source.hashes) for group in _groups(source, keep)]
    return sum(_run(count_range, calls, _hash_bytes(source), cluster, label), Count(documents=0, bytes=0))


def count_range(
    store: Store, shards: Sequence[tuple[int, str, int, Bitmap | None]], low: int, high: int, hashes: str
) -> Count:
    """Count the kept documents of some shards in a range of hashes; arguments as for `find_range`."""
    found = find_range(store, shards, low, high, hashes)
    return Count(documents=len(found), bytes=int(found["bytes"].sum()))


def _groups(source: SourceDocuments, keep: Sequence[Bitmap | None]) -> list[list[tuple[int, str, int, Bitmap | None]]]:
    """The shards of a source, some for each task."""
    shards = [
        (index, shard.folder, shard.documents, bitmap)
        for index, (shard, bitmap) in enumerate(zip(source.shards, keep, strict=True))
    ]
    return [shards[start : start + SHARDS_PER_TASK] for start in range(0, len(shards), SHARDS_PER_TASK)]


def is_small(shards: Sequence[Shard]) -> bool:
    """Whether calls over the texts and hashes of these shards run in this process."""
    return (
        sum(shard.text_bytes for shard in shards) < SMALL_BYTES
        and HASH_BYTES * sum(shard.documents for shard in shards) < SMALL_BYTES
    )


def _hash_bytes(source: SourceDocuments) -> int:
    return HASH_BYTES * sum(shard.documents for shard in source.shards)


def _run(
    function: Callable[..., T],
    calls: Sequence[tuple[object, ...]],
    input_bytes: int,
    cluster: Cluster | None,
    label: str,
) -> list[T]:
    """Call `function` for each of `calls`, in this process if all together read few bytes."""
    if input_bytes < SMALL_BYTES:
        return [function(*call) for call in calls]
    assert cluster is not None, "a task only has small inputs"
    return cluster.run(function, calls, label=label)


def find_range(
    store: Store, shards: Sequence[tuple[int, str, int, Bitmap | None]], low: int, high: int, hashes: str = HASHES
) -> NDArray[Any]:
    """The kept documents whose hash's upper half is in [low, high).

    Args:
        store: the store.
        shards: index, folder, documents and bitmap of each.
        low: first upper half, 0 to 2**64 - 1.
        high: exclusive end, up to 2**64.
        hashes: the file of hashes.
    """
    parts = []
    for index, folder, documents, bitmap in shards:
        part = documents_between(store, folder, index, low, high, hashes)
        parts.append(part if bitmap is None else part[read_bitmap(store, bitmap, documents)[part["row"]]])
    return np.concatenate(parts)


def first_of_each(documents: NDArray[Any]) -> NDArray[Any]:
    """Sort by (hash, shard, row) and keep the first document of each hash."""
    ordered = in_order(documents)
    is_first = np.ones(len(ordered), dtype=np.bool_)
    is_first[1:] = (ordered["high"][1:] != ordered["high"][:-1]) | (ordered["low"][1:] != ordered["low"][:-1])
    firsts: NDArray[Any] = ordered[is_first]
    return firsts


def in_order(documents: NDArray[Any]) -> NDArray[Any]:
    """Sort by (hash, shard, row)."""
    ordered: NDArray[Any] = documents[
        np.lexsort((documents["row"], documents["shard"], documents["low"], documents["high"]))
    ]
    return ordered


def hex_of(document: Any) -> str:  # noqa: ANN401 - one element of a structured array
    """The text hash of one document of HASHED_DTYPE, 32 hex digits."""
    return f"{int(document['high']):016x}{int(document['low']):016x}"


def up_to(documents: NDArray[Any], last: str) -> NDArray[Any]:
    """The documents whose hash is not above `last` (32 hex digits); `documents` are in hash order."""
    high, low = np.uint64(int(last[:16], 16)), np.uint64(int(last[16:], 16))
    inside = (documents["high"] < high) | ((documents["high"] == high) & (documents["low"] <= low))
    below: NDArray[Any] = documents[inside]
    return below


def fetch_texts(
    shards: Sequence[Shard],
    documents: NDArray[Any],
    store: Store,
    cluster: Cluster | None,
    schema: pa.Schema = ROWS_SCHEMA,
    *,
    label: str = "held-out texts",
) -> pa.Table:
    """The rows of `documents` in their order, with the columns of the schema; `record` is that in the whole file."""
    by_shard = [np.flatnonzero(documents["shard"] == shard) for shard in range(len(shards))]
    used = [(shard, indices) for shard, indices in enumerate(by_shard) if len(indices)]
    calls = [(store, shards[shard], documents["row"][indices], schema) for shard, indices in used]
    tables = _run(read_rows, calls, sum(shards[shard].text_bytes for shard, _ in used), cluster, label)
    if not tables:
        return table_of([], schema)
    order = np.argsort(np.concatenate([indices for _, indices in used]))
    return pa.concat_tables(tables).take(numbers(order))


def read_rows(store: Store, shard: Shard, rows: NDArray[np.int64], schema: pa.Schema = ROWS_SCHEMA) -> pa.Table:
    """Read some rows of a shard's documents, in the order of `rows`; only their row groups are opened.

    Args:
        store: the store.
        shard: the shard.
        rows: int64 [rows], at least one; rows may repeat.
        schema: the columns to read; `IDS_SCHEMA` leaves out the column `text`, by far the largest.

    Returns:
        A table of the schema, with `record` in the whole file.
    """
    columns = [name for name in schema.names if name != "file" or not shard.file]
    parts, found, start = [], [], 0
    with pq.ParquetFile(store.path(f"{shard.folder}/{DOCUMENTS}")) as file:
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            here = np.flatnonzero((rows >= start) & (rows < end))
            if len(here):
                parts.append(file.read_row_group(group, columns=columns).take(numbers(rows[here] - start)))
                found.append(here)
            start = end
    table = pa.concat_tables(parts).take(numbers(np.argsort(np.concatenate(found))))
    names = column_of([shard.file] * len(rows), pa.string()) if shard.file else table["file"]
    records = numbers(array_of(table["record"]) + shard.first_record)
    return pa.table([names, records, *(table[name] for name in schema.names[2:])], schema=schema)


def rows_up_to(source: SourceDocuments, store: Store, cluster: Cluster | None, last: str) -> NDArray[Any]:
    """Every document of a source, kept or not, duplicates included, whose hash is not above `last`: HASHED_DTYPE."""
    calls = [(store, group, last, source.hashes) for group in _groups(source, [None] * len(source.shards))]
    parts = _run(find_up_to, calls, _hash_bytes(source), cluster, f"{source.name}: by hash")
    return np.concatenate([np.empty(0, dtype=HASHED_DTYPE), *parts])


def find_up_to(
    store: Store, shards: Sequence[tuple[int, str, int, Bitmap | None]], last: str, hashes: str
) -> NDArray[Any]:
    """As `rows_up_to`, of some shards; arguments as for `find_range`."""
    high = int(last[:16], 16) + 1
    return np.concatenate(
        [up_to(documents_between(store, folder, index, 0, high, hashes), last) for index, folder, *_ in shards]
    )


def documents_between(store: Store, folder: str, index: int, low: int, high: int, hashes: str = HASHES) -> NDArray[Any]:
    """All documents of a shard, kept or not, whose hash's upper half is in [low, high), in hash order.

    Args:
        store: the store.
        folder: that of the shard.
        index: that of the shard, written to each document.
        low: 0 to 2**64.
        high: 0 to 2**64.
        hashes: the file of hashes, of texts or of prompts.
    """
    return documents_in(load_array(store.path(f"{folder}/{hashes}"), mmap_mode="r"), index, low, high)


def documents_in(table: NDArray[Any], index: int, low: int, high: int) -> NDArray[Any]:
    """As `documents_between`, from the mapped file of hashes."""
    inside = table[rows_between(table["high"], low, high)]
    part = np.empty(len(inside), dtype=HASHED_DTYPE)
    for name in ("high", "low", "bytes", "row"):
        part[name] = inside[name]
    part["shard"] = index
    return part
