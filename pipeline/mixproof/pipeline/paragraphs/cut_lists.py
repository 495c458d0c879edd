"""The lists of what was cut out of a source, joined into files of a fixed number of documents.

A build's manifest names them, so that an audit can replay what was cut; they are the same under any split into shards.
That is why a file's key is made of its own bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.fingerprint import sha256_of_file, stage_key
from mixproof.ledger.manifest import CutsRecord
from mixproof.ledger.receipts import find_receipts
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.read.shard_output import ROW_GROUP_ROWS

from .cutting import LIST, LIST_SCHEMA
from .paragraph_hashes import STAGE, VERSION

PART_DOCUMENTS = 1_000_000
"""Documents of a file."""


@dataclass(frozen=True)
class ShardList:
    """The list of one shard."""

    key: str
    sha256: str
    documents: int
    first_record: int
    """To add to the records of the list."""


def join_lists(lists: Sequence[ShardList], store: Store, cluster: Cluster) -> tuple[CutsRecord, ...]:
    """Join the lists of a source's shards, which stand in order."""
    total = sum(each.documents for each in lists)
    calls = []
    for first in range(0, total, PART_DOCUMENTS):
        pieces = list(_pieces(lists, first, min(total, first + PART_DOCUMENTS)))
        identity = [[each.sha256, each.first_record, skip, rows] for each, skip, rows in pieces]
        calls.append((str(store), stage_key(STAGE, VERSION, {"lists": True}, identity), pieces))
    known = find_receipts(store, STAGE, [key for _, key, _ in calls])
    missing = [call for call in calls if call[1] not in known]
    cluster.count(run=len(missing), reused=len(calls) - len(missing))
    cluster.run(write_part, missing, label="lists of paragraphs")
    receipts = known | find_receipts(store, STAGE, [key for _, key, _ in missing])
    return tuple(CutsRecord(**receipts[key].facts["part"]) for _, key, _ in calls)


def _pieces(lists: Sequence[ShardList], first: int, last: int) -> Iterator[tuple[ShardList, int, int]]:
    """What lies between two documents: a list, the rows of it to pass over, the rows to take."""
    start = 0
    for each in lists:
        skip, end = max(0, first - start), min(each.documents, last - start)
        if skip < end:
            yield each, skip, end - skip
        start += each.documents


def write_part(store_url: str, key: str, pieces: Sequence[tuple[ShardList, int, int]]) -> None:
    """Write one file under the name of its content, and under `key` where that is."""
    store = Store(store_url)
    with store.attempt(STAGE, key) as attempt:
        scratch = attempt.path("joined.parquet")
        with pq.ParquetWriter(scratch, LIST_SCHEMA, compression="zstd", write_statistics=False) as writer:
            for group in _groups(store, pieces):
                writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
        sha256 = sha256_of_file(scratch)
        own = stage_key(STAGE, VERSION, {"list": True}, [sha256])
        with store.attempt(STAGE, own) as named:
            scratch.rename(named.path(LIST))
            named.commit()
        documents = sum(rows for _, _, rows in pieces)
        part = CutsRecord(path=f"{STAGE}/{own}/{LIST}", sha256=sha256, documents=documents)
        attempt.commit(facts={"part": part.model_dump()})


def _groups(store: Store, pieces: Sequence[tuple[ShardList, int, int]]) -> Iterator[pa.Table]:
    """The rows of the pieces in tables of ROW_GROUP_ROWS, whatever the pieces."""
    held = LIST_SCHEMA.empty_table()
    for each, skip, rows in pieces:
        with pq.ParquetFile(store.path(f"{STAGE}/{each.key}/{LIST}")) as file:
            seen = 0
            for batch in file.iter_batches(ROW_GROUP_ROWS):
                low, high = max(0, skip - seen), min(len(batch), skip + rows - seen)
                seen += len(batch)
                if low < high:
                    held = pa.concat_tables([held, _placed(batch.slice(low, high - low), each.first_record)])
            while len(held) >= ROW_GROUP_ROWS:
                yield held.slice(0, ROW_GROUP_ROWS).combine_chunks()
                held = held.slice(ROW_GROUP_ROWS)
    if len(held):
        yield held.combine_chunks()


def _placed(batch: pa.RecordBatch, first_record: int) -> pa.Table:
    table = pa.Table.from_batches([batch])
    place = LIST_SCHEMA.get_field_index("record")
    records = pa.array(table["record"].to_numpy() + first_record, pa.int64())
    return table.set_column(place, LIST_SCHEMA.field("record"), records)
