"""A source's documents in the order of their text hashes, whatever its shards: the smallest come first.

Reading left the hashes of each shard in a sorted file (`read.py`), so all documents of a range of hashes
are one slice of every shard. A range wide enough for what the caller expects to take is fetched first, then
twice as much and so on, so that a caller that takes 2% of a source reads about as much of its hashes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.bitmap import Bitmap, read_bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.columns import array_of, column_of, numbers, table_of
from mixproof.pipeline.sorted_rows import rows_between

from .documents import Shard, SourceDocuments
from .read import DOCUMENTS, HASHES

HASH_SPACE = 1 << 64
SHARDS_PER_TASK = 64
FIRST_RANGE_SLACK = Fraction(5, 4)
"""The first range of hashes is this much wider than an even spread would need."""

PLACED_DTYPE = np.dtype([("high", "<u8"), ("low", "<u8"), ("bytes", "<i8"), ("row", "<i8"), ("shard", "<i4")])
"""A document: the halves of its text's xxh3_128, UTF-8 bytes, row in its shard, place of the shard."""

ROWS_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("record", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("text", pa.large_string()),
    ]
)


def in_hash_order(
    source: SourceDocuments, keep: Sequence[Bitmap | None], store: Store, cluster: Cluster, *, expected: Fraction
) -> Iterator[NDArray[Any]]:
    """All kept documents with distinct texts by rising hash, in arrays of PLACED_DTYPE.

    Of documents with the same text only the first, by (file, record), is among them.

    Args:
        source: the documents.
        keep: what earlier stages kept, a bitmap a shard.
        store: where the shards are.
        cluster: runs the tasks.
        expected: the part of the source, above 0, that the caller thinks it will take.
    """
    shards = [
        (place, shard.folder, shard.documents, bitmap)
        for place, (shard, bitmap) in enumerate(zip(source.shards, keep, strict=True))
    ]
    groups = [shards[first : first + SHARDS_PER_TASK] for first in range(0, len(shards), SHARDS_PER_TASK)]
    low = 0
    high = min(HASH_SPACE, int(expected * FIRST_RANGE_SLACK * HASH_SPACE) + 1)
    while low < HASH_SPACE:
        calls = [(str(store), group, low, high) for group in groups]
        parts = cluster.run(find_range, calls, label=f"{source.name}: by hash")
        yield first_of_each(np.concatenate([np.empty(0, dtype=PLACED_DTYPE), *parts]))
        low, high = high, min(HASH_SPACE, 2 * high)


def find_range(
    store_url: str, shards: Sequence[tuple[int, str, int, Bitmap | None]], low: int, high: int
) -> NDArray[Any]:
    """The kept documents whose hash's upper half is in [low, high).

    Args:
        store_url: the store.
        shards: place, folder, documents and bitmap of each.
        low: first upper half, 0 to 2**64 - 1.
        high: the one after the last.
    """
    store = Store(store_url)
    parts = []
    for place, folder, documents, bitmap in shards:
        part = documents_between(store, folder, place, low, high)
        parts.append(part if bitmap is None else part[read_bitmap(store, bitmap, documents)[part["row"]]])
    return np.concatenate(parts)


def first_of_each(documents: NDArray[Any]) -> NDArray[Any]:
    """Sort by (hash, shard, row) and leave out all but the first document of each hash."""
    order = np.lexsort((documents["row"], documents["shard"], documents["low"], documents["high"]))
    ordered = documents[order]
    fresh = np.ones(len(ordered), dtype=np.bool_)
    fresh[1:] = (ordered["high"][1:] != ordered["high"][:-1]) | (ordered["low"][1:] != ordered["low"][:-1])
    firsts: NDArray[Any] = ordered[fresh]
    return firsts


def hex_of(document: Any) -> str:  # noqa: ANN401 - one element of a structured array
    """The text hash of one document of PLACED_DTYPE, 32 hex digits."""
    return f"{int(document['high']):016x}{int(document['low']):016x}"


def up_to(documents: NDArray[Any], last: str) -> NDArray[Any]:
    """The documents whose hash is not above `last` (32 hex digits); `documents` are in hash order."""
    high, low = np.uint64(int(last[:16], 16)), np.uint64(int(last[16:], 16))
    inside = (documents["high"] < high) | ((documents["high"] == high) & (documents["low"] <= low))
    below: NDArray[Any] = documents[inside]
    return below


def fetch_texts(shards: Sequence[Shard], documents: NDArray[Any], store: Store, cluster: Cluster) -> pa.Table:
    """The texts of `documents`, in their order: `file`, `record` (in the whole file), `id`, `text`."""
    places = [np.flatnonzero(documents["shard"] == shard) for shard in range(len(shards))]
    wanted = [(shard, rows) for shard, rows in enumerate(places) if len(rows)]
    calls = [(str(store), shards[shard], documents["row"][rows]) for shard, rows in wanted]
    tables = cluster.run(read_rows, calls, label="held-out texts")
    if not tables:
        return table_of([], ROWS_SCHEMA)
    order = np.argsort(np.concatenate([rows for _, rows in wanted]))
    return pa.concat_tables(tables).take(numbers(order))


def read_rows(store_url: str, shard: Shard, rows: NDArray[np.int64]) -> pa.Table:
    """Read some rows of a shard's documents, in the order of `rows`; only their row groups are opened."""
    columns = ["record", "id", "text"] if shard.file else ["file", "record", "id", "text"]
    parts, found, start = [], [], 0
    with pq.ParquetFile(Store(store_url).path(f"{shard.folder}/{DOCUMENTS}")) as file:
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            here = np.flatnonzero((rows >= start) & (rows < end))
            if len(here):
                parts.append(file.read_row_group(group, columns=columns).take(numbers(rows[here] - start)))
                found.append(here)
            start = end
    texts = pa.concat_tables(parts).take(numbers(np.argsort(np.concatenate(found))))
    names = column_of([shard.file] * len(rows), pa.string()) if shard.file else texts["file"]
    records = numbers(array_of(texts["record"]) + shard.first_record)
    return pa.table([names, records, texts["id"], texts["text"]], schema=ROWS_SCHEMA)


def rows_up_to(store: Store, shard: Shard, place: int, last: str) -> NDArray[Any]:
    """Every document of a shard, kept or not and copies too, whose hash is not above `last`."""
    return up_to(documents_between(store, shard.folder, place, 0, int(last[:16], 16) + 1), last)


def documents_between(store: Store, folder: str, place: int, low: int, high: int) -> NDArray[Any]:
    """All documents of a shard, kept or not, whose hash's upper half is in [low, high), in hash order.

    Args:
        store: the store.
        folder: the shard's.
        place: the shard's, which each of its documents gets.
        low: 0 to 2**64.
        high: 0 to 2**64.
    """
    table = np.load(store.path(f"{folder}/{HASHES}"), mmap_mode="r")
    hashes = table[rows_between(table["high"], low, high)]
    part = np.empty(len(hashes), dtype=PLACED_DTYPE)
    for name in ("high", "low", "bytes", "row"):
        part[name] = hashes[name]
    part["shard"] = place
    return part
