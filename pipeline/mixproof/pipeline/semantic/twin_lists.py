"""The semantic duplicates of a source as a file that the manifest names: who was dropped, for which document, how near.

The list does not depend on the split into shards, so its key is made from its own rows. The list of removed documents
(`removed/`) is made from the same losers. Memory: the losers of a shard, and one group of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.content import rows_sha256
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.records.dropped import TwinsRecord
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.columns import column_of, numbers
from mixproof.pipeline.dedup.duplicates import SEMANTIC, DuplicateList, Twins, read_keepers, twins_of
from mixproof.pipeline.dedup.group_bitmaps import text_bytes
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.read.by_hash import IDS_SCHEMA, read_rows
from mixproof.pipeline.read.shard_output import ROW_GROUP_ROWS
from mixproof.pipeline.read.shards import Shard
from mixproof.pipeline.sorted_rows import rows_between

from .documents import STAGE, VERSION
from .keepers import COSINES
from .vectors import COMPARED

LIST = "twins.parquet"
LIST_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("record", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("kept_source", pa.string()),
        pa.field("kept_file", pa.string()),
        pa.field("kept_record", pa.int64()),
        pa.field("cosine", pa.float64()),
    ]
)
"""A dropped document in the order of the source: its file, record, id and UTF-8 bytes; the document kept instead; the
cosine of both."""


@dataclass(frozen=True)
class SourceTwins:
    """What one source lost."""

    shards: tuple[Shard, ...]
    """Of the whole group."""
    own: tuple[tuple[int, str, str | None], ...]
    """Of each shard of the source: its index in the group, the folder of its vectors, the path of its bitmap before."""
    lists: Mapping[int, DuplicateList]
    """By index of the shard: where its losers are named."""
    identity: tuple[str, ...]
    """What its result depends on."""


def semantic_twins(store: Store, each: DuplicateList, shards: Sequence[Shard]) -> Twins:
    """Read the semantic duplicates of a shard; `shards` are those of the group."""
    firsts = list(accumulate((shard.documents for shard in shards), initial=0))
    parts, cosines = [], []
    for path in each.paths:
        losers = load_array(store.path(path), mmap_mode="r")
        part = rows_between(losers[:, 0], *firsts[each.shard : each.shard + 2])
        parts.append(twins_of(losers[part], each.shard, firsts))
        cosines.append(load_array(store.path(str(PurePosixPath(path).with_name(COSINES))), mmap_mode="r")[part])
    rows = np.concatenate(parts)
    order = np.argsort(rows["row"])
    return Twins(rows[order], [SEMANTIC] * len(rows), np.concatenate(cosines)[order])


def list_twins(work: Mapping[str, SourceTwins], store: Store, cluster: Cluster) -> dict[str, TwinsRecord]:
    """Write the list of each source, by name."""
    keys = {name: stage_key(STAGE, VERSION, {"twins": True}, list(each.identity)) for name, each in work.items()}

    def calls(missing: Mapping[str, SourceTwins]) -> list[tuple[object, ...]]:
        return [(store, key, each) for key, each in missing.items()]

    by_key = {keys[name]: each for name, each in work.items()}
    receipts = run_missing(store, STAGE, by_key, calls, write_list, cluster, "lists of semantic duplicates")
    return {name: TwinsRecord(**receipts[key].facts["twins"]) for name, key in keys.items()}


def write_list(store: Store, key: str, source: SourceTwins) -> None:
    """Write one list under a key of its content, and under `key` its record."""
    documents = 0
    with store.attempt(STAGE, key) as attempt:
        scratch = attempt.path("joined.parquet")
        with pq.ParquetWriter(scratch, LIST_SCHEMA, compression="zstd", write_statistics=False) as writer:
            for group in _groups(_tables(store, source)):
                writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
                documents += len(group)
        sha256 = rows_sha256(scratch)
        own = stage_key(STAGE, VERSION, {"list": True}, [sha256])
        with store.attempt(STAGE, own) as named:
            scratch.rename(named.path(LIST))
            named.commit()
        record = TwinsRecord(
            path=f"{STAGE}/{own}/{LIST}", sha256=sha256, documents=documents, compared=_compared(store, source)
        )
        attempt.commit(facts={"twins": record.model_dump()})


def _tables(store: Store, source: SourceTwins) -> Iterator[pa.Table]:
    for index, _, _ in source.own:
        if index not in source.lists:
            continue
        twins = semantic_twins(store, source.lists[index], source.shards)
        rows = twins.rows["row"].astype(np.int64)
        own = read_rows(store, source.shards[index], rows, IDS_SCHEMA)
        keeper = read_keepers(store, source.shards, twins.rows)
        names = [source.shards[each].source for each in twins.rows["keeper"].tolist()]
        assert twins.cosines is not None, "semantic duplicates have cosines"
        yield pa.table(
            [
                own["file"],
                own["record"],
                own["id"],
                numbers(text_bytes(store, source.shards[index].folder)[rows]),
                column_of(names, pa.string()),
                keeper["file"],
                keeper["record"],
                numbers(twins.cosines),
            ],
            schema=LIST_SCHEMA,
        )


def _groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of all tables in tables of ROW_GROUP_ROWS, so that a file's bytes depend only on its rows."""
    pending = LIST_SCHEMA.empty_table()
    for table in tables:
        pending = pa.concat_tables([pending, table])
        while len(pending) >= ROW_GROUP_ROWS:
            yield pending.slice(0, ROW_GROUP_ROWS).combine_chunks()
            pending = pending.slice(ROW_GROUP_ROWS)
    if len(pending):
        yield pending.combine_chunks()


def _compared(store: Store, source: SourceTwins) -> int:
    """Documents of the source that took part."""
    found = 0
    for _, folder, bitmap in source.own:
        compared = load_array(store.path(f"{folder}/{COMPARED}"))
        found += int((compared if bitmap is None else compared & load_array(store.path(bitmap))).sum())
    return found
