"""The lists of what was cut from a source, joined into files of a fixed number of documents.

A build's manifest names these files so that an audit can repeat the cuts. They do not depend on the split into shards,
so the key of each is made from its own bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.content import rows_sha256
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.records.dropped import CutsRecord
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.columns import array_of, numbers, table_of
from mixproof.pipeline.read.shard_output import ROW_GROUP_ROWS

LIST = "list.parquet"
PART_DOCUMENTS = 1_000_000
"""Documents per file."""


@dataclass(frozen=True)
class ListKind:
    """The lists of one stage."""

    stage: str
    version: int
    label: str
    """Names the tasks that join lists in progress and logs."""
    schema: pa.Schema
    """Has a column `record`, an int64."""


@dataclass(frozen=True)
class CutList:
    """The list of one shard."""

    key: str
    sha256: str
    documents: int
    first_record: int
    """Added to the record numbers of the list, which count from the start of the shard."""


Piece = tuple[CutList, int, int]
"""A list, the number of its rows to skip, and the number to take."""


def join_lists(
    kind: ListKind, lists: Mapping[str, Sequence[CutList]], store: Store, cluster: Cluster
) -> dict[str, tuple[CutsRecord, ...]]:
    """Join the lists of the shards of each source, given in order."""
    parts: dict[str, list[Piece]] = {}
    keys: dict[str, list[str]] = {}
    for source, of_shards in lists.items():
        keys[source] = []
        total = sum(each.documents for each in of_shards)
        for first in range(0, total, PART_DOCUMENTS):
            pieces = list(_pieces(of_shards, first, min(total, first + PART_DOCUMENTS)))
            identity = [[each.sha256, each.first_record, skip, rows] for each, skip, rows in pieces]
            key = stage_key(kind.stage, kind.version, {"lists": True}, identity)
            keys[source].append(key)
            parts[key] = pieces

    def calls(missing: Mapping[str, list[Piece]]) -> list[tuple[object, ...]]:
        return [(store, kind, key, pieces) for key, pieces in missing.items()]

    receipts = run_missing(store, kind.stage, parts, calls, write_part, cluster, kind.label)
    return {source: tuple(CutsRecord(**receipts[key].facts["part"]) for key in own) for source, own in keys.items()}


def _pieces(lists: Sequence[CutList], first: int, last: int) -> Iterator[Piece]:
    """Yield the pieces of lists that hold documents `first` to `last` - 1 of the source."""
    start = 0
    for each in lists:
        skip, end = max(0, first - start), min(each.documents, last - start)
        if skip < end:
            yield each, skip, end - skip
        start += each.documents


def write_part(store: Store, kind: ListKind, key: str, pieces: Sequence[Piece]) -> None:
    """Write one file under a key of its content, and under `key` the path of that file."""
    with store.attempt(kind.stage, key) as attempt:
        scratch = attempt.path("joined.parquet")
        with pq.ParquetWriter(scratch, kind.schema, compression="zstd", write_statistics=False) as writer:
            for group in _groups(store, kind, pieces):
                writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
        sha256 = rows_sha256(scratch)
        own = stage_key(kind.stage, kind.version, {"list": True}, [sha256])
        with store.attempt(kind.stage, own) as named:
            scratch.rename(named.path(LIST))
            named.commit()
        documents = sum(rows for _, _, rows in pieces)
        part = CutsRecord(path=f"{kind.stage}/{own}/{LIST}", sha256=sha256, documents=documents)
        attempt.commit(facts={"part": part.model_dump()})


def _groups(store: Store, kind: ListKind, pieces: Sequence[Piece]) -> Iterator[pa.Table]:
    """Yield the rows of all pieces in tables of ROW_GROUP_ROWS, across the borders of pieces."""
    pending = table_of([], kind.schema)
    for each, skip, count in pieces:
        with pq.ParquetFile(store.path(f"{kind.stage}/{each.key}/{LIST}")) as file:
            seen = 0
            for batch in file.iter_batches(ROW_GROUP_ROWS):
                low, high = max(0, skip - seen), min(len(batch), skip + count - seen)
                seen += len(batch)
                if low < high:
                    pending = pa.concat_tables(
                        [pending, _with_records_of_file(batch.slice(low, high - low), each.first_record)]
                    )
            while len(pending) >= ROW_GROUP_ROWS:
                yield pending.slice(0, ROW_GROUP_ROWS).combine_chunks()
                pending = pending.slice(ROW_GROUP_ROWS)
    if len(pending):
        yield pending.combine_chunks()


def _with_records_of_file(batch: pa.RecordBatch, first_record: int) -> pa.Table:
    table = pa.Table.from_batches([batch])
    column = table.schema.get_field_index("record")
    records = numbers(array_of(table["record"]) + first_record)
    return table.set_column(column, table.schema.field("record"), records)
