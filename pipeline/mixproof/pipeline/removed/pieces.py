"""Pieces of a list of removed documents: what each stage wrote about one shard, read into tables of one schema."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.store import Store
from mixproof.pipeline.bitmap import Bitmap, read_bitmap
from mixproof.pipeline.cells.keep_shards import STAGE as KEEP
from mixproof.pipeline.cells.survey import STAGE as CELLS
from mixproof.pipeline.columns import array_of, column_of, flags, numbers, read_whole, table_of
from mixproof.pipeline.dedup.duplicates import NO_KEEPER, DuplicateList, Twins, exact_twins, fuzzy_twins, read_keepers
from mixproof.pipeline.dedup.kept_ids import ReadKeepers, load_shards
from mixproof.pipeline.heldout.decontaminate import DECONTAMINATE
from mixproof.pipeline.paragraphs.dropped_documents import paragraph_twins
from mixproof.pipeline.read.by_hash import IDS_SCHEMA, read_rows
from mixproof.pipeline.read.documents import RemovalList
from mixproof.pipeline.read.read_task import STAGE as READ
from mixproof.pipeline.read.shards import Shard
from mixproof.pipeline.semantic.twin_lists import semantic_twins
from mixproof.pipeline.substrings.cutting import substring_twins

STAGE = "removed"
BATCH_ROWS = 64 * 1024

REMOVED_SCHEMA = pa.schema(
    [
        pa.field("stage", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("file", pa.string()),
        pa.field("record", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("kept_source", pa.string()),
        pa.field("kept_file", pa.string()),
        pa.field("kept_record", pa.int64()),
        pa.field("cosine", pa.float64()),
    ]
)
"""A removed record or document: ledger stage and reason; input file, record in the whole file, id; for a duplicate the
document kept instead, else null; for a semantic duplicate the cosine of both, else null."""

STAGE_OF = {"rejected": READ, "keep": KEEP, "pruned": CELLS, "decontaminated": DECONTAMINATE}
"""The ledger stage of a kind of list that does not name it."""
LEDGER_STAGES = {
    "exact": "dedup",
    "fuzzy": "dedup",
    "semantic": "semantic",
    "paragraphs": "paragraphs",
    "substrings": "substrings",
}
"""The ledger row that counts the duplicates of each search."""


@dataclass(frozen=True)
class Duplicates:
    """The duplicates that one shard lost to one search."""

    group: str
    """Key of the saved list of the group's shards."""
    found: DuplicateList

    @property
    def rows(self) -> int:
        """Number of documents."""
        return self.found.documents


@dataclass(frozen=True)
class Difference:
    """The documents of one shard that a stage dropped, known only as those that it did not keep."""

    stage: str
    reason: str
    documents: str
    """Parquet file with `record`, `id` and perhaps `file`, relative to the store."""
    keep: Bitmap | None
    """Which of its rows the stage took; None: all."""
    kept: str
    """Parquet file with `file` and `record` of what the stage kept."""
    file: str
    """Name of the input file; "" if the column `file` names it."""
    first_record: int
    """Added to `record` to get the index in that file."""
    rows: int
    """Number of documents dropped."""


Piece = RemovalList | Duplicates | Difference


def listed_rows(store: Store, piece: RemovalList) -> Iterator[pa.Table]:
    """Yield the rows of a list that a stage wrote, in tables of REMOVED_SCHEMA."""
    columns = ["record", "reason"]
    columns += [] if piece.file is not None else ["file"]
    columns += {"rejected": [], "dropped": ["id", "step"]}.get(piece.kind, ["id"])
    with pq.ParquetFile(store.path(piece.path)) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            size = len(batch)
            nothing, no_number = _same(None, size), pa.nulls(size, pa.int64())
            yield pa.table(
                [
                    batch["step"] if piece.kind == "dropped" else _same(STAGE_OF[piece.kind], size),
                    batch["reason"],
                    batch["file"] if piece.file is None else _same(piece.file, size),
                    numbers(array_of(batch["record"]) + piece.first_record),
                    nothing if piece.kind == "rejected" else batch["id"],
                    nothing,
                    nothing,
                    no_number,
                    pa.nulls(size, pa.float64()),
                ],
                schema=REMOVED_SCHEMA,
            )


def difference_rows(store: Store, piece: Difference) -> pa.Table:
    """Find the documents that a stage did not keep; a table of REMOVED_SCHEMA."""
    columns = ["record", "id"] if piece.file else ["file", "record", "id"]
    taken = read_whole(store.path(piece.documents), columns)
    taken = taken.filter(flags(read_bitmap(store, piece.keep, len(taken))))
    kept = read_whole(store.open(piece.kept), ["file", "record"])
    own_names, kept_names = (
        [piece.file] * len(table) if piece.file else table["file"].to_pylist() for table in (taken, kept)
    )
    known = set(zip(kept_names, kept["record"].to_pylist(), strict=True))
    rows = [
        (piece.stage, piece.reason, name, record + piece.first_record, id_, None, None, None, None)
        for name, record, id_ in zip(own_names, taken["record"].to_pylist(), taken["id"].to_pylist(), strict=True)
        if (name, record) not in known
    ]
    return table_of(rows, REMOVED_SCHEMA)


def duplicate_rows(
    store: Store, group: str, pieces: Sequence[Duplicates], read_kept: ReadKeepers = read_keepers
) -> Iterator[pa.Table]:
    """Yield the duplicates of several shards of one group, one table of REMOVED_SCHEMA per piece.

    The keepers of all pieces are looked up together, so each of their shards is opened once.
    """
    shards = load_shards(store, STAGE, group)
    found = twins_in(store, pieces, shards)
    kept = read_kept(store, shards, np.concatenate([each.rows for each in found]))
    names = {NO_KEEPER: None} | {index: shard.source for index, shard in enumerate(shards)}
    first = 0
    for piece, twins in zip(pieces, found, strict=True):
        size = len(twins.rows)
        own = read_rows(store, shards[piece.found.shard], twins.rows["row"].astype(np.int64), IDS_SCHEMA)
        keeper = kept.slice(first, size)
        stage = LEDGER_STAGES[piece.found.search]
        yield pa.table(
            [
                _same(stage, size),
                column_of(twins.reasons, pa.string()),
                own["file"],
                own["record"],
                own["id"],
                column_of([names[index] for index in twins.rows["keeper"].tolist()], pa.string()),
                keeper["file"],
                keeper["record"],
                pa.nulls(size, pa.float64()) if twins.cosines is None else numbers(twins.cosines),
            ],
            schema=REMOVED_SCHEMA,
        )
        first += size


def twins_in(store: Store, pieces: Sequence[Duplicates], shards: Sequence[Shard]) -> list[Twins]:
    """The duplicates of each piece; `shards` are those of the group."""
    return [_twins(store, piece.found, shards) for piece in pieces]


def _twins(store: Store, found: DuplicateList, shards: Sequence[Shard]) -> Twins:
    if found.search == "exact":
        return exact_twins(store, found)
    if found.search == "fuzzy":
        return fuzzy_twins(store, found, shards)
    if found.search == "semantic":
        return semantic_twins(store, found, shards)
    if found.search == "substrings":
        return substring_twins(store, found)
    return paragraph_twins(store, found, shards)


def _same(value: str | None, size: int) -> pa.Array:
    return column_of([value] * size, pa.string())
