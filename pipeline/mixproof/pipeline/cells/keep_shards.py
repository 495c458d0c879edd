"""Apply the rules of `keep` to shards: a bitmap of the documents that stay, and a list of those that are dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.content import rows_sha256
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Store
from mixproof.pipeline.bitmap import BITMAP, Bitmap, read_bitmap, save_bitmap
from mixproof.pipeline.columns import array_of, column_of, flags, numbers, read_whole
from mixproof.pipeline.labels.columns_of_rows import read_column

from .keep_rules import KEPT, Rule, decide, reasons_of

STAGE = "keep"
VERSION = 1
LIST = "dropped.parquet"
LIST_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("record", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("text_xxh128", pa.string()),
        pa.field("text_bytes", pa.int64()),
    ]
)
"""A document that was dropped: input file, record in the whole file, id, the ledger's reason, hash and size."""


@dataclass(frozen=True)
class KeptShard:
    """One shard to which rules are applied."""

    path: str
    """Its `documents.parquet`, relative to the store."""
    file: str
    """Name of its input file; "" if each row names its own."""
    first_record: int
    documents: int
    keep: Bitmap | None
    labels: tuple[tuple[str, str], ...]
    """Name and file of each label."""
    rules: tuple[Rule, ...]


def keep_shards(store: Store, shards: Sequence[tuple[str, KeptShard]]) -> None:
    """Write bitmap and list of some shards, each under its key (Ray task).

    The facts state documents and bytes that stay, as `kept`, and those that are dropped by reason, as `dropped`.
    """
    for key, shard in shards:
        before = read_bitmap(store, shard.keep, shard.documents)
        paths = dict(shard.labels)
        columns = {rule.column: read_column(store, paths, rule.column) for rule in shard.rules}
        found = decide(shard.rules, columns, shard.documents)
        kept, reasons = before & (found == KEPT), reasons_of(shard.rules)
        sizes = array_of(read_whole(store.path(shard.path), ["text_bytes"])["text_bytes"])
        dropped = {}
        for number, reason in enumerate(reasons):
            inside = before & (found == number)
            if inside.any():
                dropped[reason] = [int(inside.sum()), int(sizes[inside].sum())]
        with store.attempt(STAGE, key) as attempt:
            save_bitmap(attempt.path(BITMAP), kept)
            rows = np.flatnonzero(before & ~kept)
            table = _listed(store, shard, [reasons[number] for number in found[rows].tolist()], before & ~kept)
            pq.write_table(table, attempt.path(LIST), compression="zstd")
            attempt.commit(facts={"kept": [int(kept.sum()), int(sizes[kept].sum())], "dropped": dropped})


def _listed(store: Store, shard: KeptShard, reasons: list[str], chosen: NDArray[np.bool_]) -> pa.Table:
    columns = [*([] if shard.file else ["file"]), "record", "id", "text_xxh128", "text_bytes"]
    rows = read_whole(store.path(shard.path), columns).filter(flags(chosen))
    hashes = [digest.hex() for digest in rows["text_xxh128"].to_pylist()]
    return pa.table(
        [
            column_of([shard.file] * len(rows), pa.string()) if shard.file else rows["file"],
            numbers(array_of(rows["record"]) + shard.first_record),
            rows["id"],
            column_of(reasons, pa.string()),
            column_of(hashes, pa.string()),
            rows["text_bytes"],
        ],
        schema=LIST_SCHEMA,
    )


def join_lists(store: Store, key: str, paths: Sequence[str]) -> None:
    """Join the lists of a source's shards, given in order, under a key of their content; `key` names it (Ray task)."""
    with store.attempt(STAGE, key) as attempt:
        scratch = attempt.path("joined.parquet")
        with pq.ParquetWriter(scratch, LIST_SCHEMA, compression="zstd", write_statistics=False) as writer:
            for batch in _batches(store, paths):
                writer.write_batch(batch)
        sha256 = rows_sha256(scratch)
        own = stage_key(STAGE, VERSION, {"list": True}, [sha256])
        with store.attempt(STAGE, own) as named:
            scratch.rename(named.path(LIST))
            named.commit()
        attempt.commit(facts={"path": f"{STAGE}/{own}/{LIST}", "sha256": sha256})


def _batches(store: Store, paths: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pq.ParquetFile(store.path(path)) as file:
            yield from file.iter_batches()
