"""Provenance: one row per document of a dataset part, in the order of its index.

Columns, in order: `document` (int64, from 0 in each part), `file` (path below the glob's fixed prefix), `record`
(int64, index in the whole file, from 0), `id` (`<file>#<record>` if the record has none), `text_xxh128` (32 hexadecimal
digits), `text_bytes` (int64, UTF-8), `tokens` (int32, EOD included). Conversations have more columns (`open_schema`):
`supervised_tokens` (int64) and `prompt_xxh128`; pairs `answer` (`chosen` or `rejected`), `rating` and `margin`; rated
answers `attribute.NAME` for each attribute of the source. Numbers that a record lacks are null. Where a source has
labels, a column `label.<name>` for each follows, null for documents without a value.

When a shard is encoded, its file and first record are not known yet, because equal shards share one output. It is
written with the same columns except `document`, with nulls for an unknown `file` and `id` (the open form). Before
writing, tables are divided again into row groups of a constant size, so the bytes do not depend on the shards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mixproof.ledger.records.source import SourceKind
from mixproof.ledger.store import Store
from mixproof.pipeline.columns import array_of, column_of, numbers
from mixproof.pipeline.labels.columns_of_rows import PREFIX, LabelledSource

ROW_GROUP = 65_536
"""Rows per row group in every provenance file."""

OPEN_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("record", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("text_xxh128", pa.string()),
        pa.field("text_bytes", pa.int64()),
        pa.field("tokens", pa.int32()),
    ]
)
_MARKED = [pa.field("supervised_tokens", pa.int64()), pa.field("prompt_xxh128", pa.string())]
_PAIRED = [pa.field("answer", pa.string()), pa.field("rating", pa.float64()), pa.field("margin", pa.float64())]
_BETWEEN = column_of(["#"], pa.string())[0]
"""Separates file and record in a generated id."""
SCHEMA = pa.schema([pa.field("document", pa.int64()), *OPEN_SCHEMA])


def open_schema(kind: SourceKind | None, attributes: Sequence[str] = ()) -> pa.Schema:
    """The columns of an encoded shard, for plain documents (None) or for a kind of conversations."""
    if kind is None:
        return OPEN_SCHEMA
    rated = [pa.field(f"attribute.{name}", pa.float64()) for name in attributes] if kind == "ratings" else []
    return pa.schema([*OPEN_SCHEMA, *_MARKED, *(_PAIRED if kind == "preferences" else rated)])


def part_schema(kind: SourceKind | None, attributes: Sequence[str] = ()) -> pa.Schema:
    """The columns of a part's provenance."""
    return pa.schema([SCHEMA.field("document"), *open_schema(kind, attributes)])


@dataclass(frozen=True)
class Slice:
    """Consecutive documents of one encoded shard, and the position of the shard in its source."""

    output: str
    """`tokens/<key>`, the encoded shard."""
    folder: str
    """The folder of its files, relative to the store; it may be in a pack (`Store.open`)."""
    start: int
    stop: int
    """Documents `start` up to, not including, `stop` of the shard."""
    file: str
    """Name of the shard's input file; "" if each row names its own file."""
    first_record: int
    """Index, in the whole file, of the shard's record 0."""

    def plain(self) -> dict[str, str | int]:
        """The slice as JSON for a fingerprint, which does not depend on where the files are."""
        fields = {name: value for name, value in vars(self).items() if name != "output"}
        return {**fields, "folder": self.output}


class TableWriter:
    """Writes a Parquet file whose bytes depend only on its rows (and the version of pyarrow)."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", compression_level=3, use_dictionary=["file"])

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def write(self, row_group: pa.Table) -> None:
        """Write one row group, as returned by `regroup`."""
        self._writer.write_table(row_group, row_group_size=ROW_GROUP)


def regroup(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Divide tables into contiguous tables of `ROW_GROUP` rows; the last one has the remaining rows."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        while rows >= ROW_GROUP:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, ROW_GROUP).combine_chunks()
            waiting = [joined.slice(ROW_GROUP)]
            rows -= ROW_GROUP
    if rows:
        yield pa.concat_tables(waiting).combine_chunks()


def read_slice(path: Path | BytesIO, piece: Slice) -> Iterator[pa.Table]:
    """The rows of a slice with `file`, `record` and `id` filled in, one row group of the shard at a time.

    Args:
        path: the shard's provenance, of `open_schema`.
        piece: the rows to read, and the shard's position in its source.
    """
    with pq.ParquetFile(path) as shard:
        at = 0
        for group in range(shard.num_row_groups):
            rows = shard.metadata.row_group(group).num_rows
            start, stop = max(piece.start - at, 0), min(piece.stop - at, rows)
            at += rows
            if start < stop:
                yield _close(shard.read_row_group(group).slice(start, stop - start), piece)


def _close(rows: pa.Table, piece: Slice) -> pa.Table:
    file = rows["file"] if not piece.file else column_of([piece.file] * rows.num_rows, pa.string())
    record = numbers(array_of(rows["record"]) + piece.first_record)
    names = pc.binary_join_element_wise(file, pc.cast(record, pa.string()), _BETWEEN)
    unchanged = [rows[name] for name in rows.column_names if name not in ("file", "record", "id")]
    return pa.table([file, record, pc.coalesce(rows["id"], names), *unchanged], schema=rows.schema)


def read_part(
    store: Store, slices: Iterable[Slice], name: str, labels: LabelledSource | None = None
) -> Iterator[pa.Table]:
    """The rows of a part in row groups: `document`, the columns of its shards, and those of labels.

    Args:
        store: the store of the shards.
        slices: the slices of the part, in order.
        name: name of the provenance file in each shard's folder.
        labels: those of the part's documents, if its source has labels.
    """
    document = 0
    for rows in regroup(table for piece in slices for table in read_slice(store.open(f"{piece.folder}/{name}"), piece)):
        documents = numbers(np.arange(document, document + rows.num_rows, dtype=np.int64))
        document += rows.num_rows
        columns = [] if labels is None else labels.of_rows(store, rows).combine_chunks().columns
        more = [] if labels is None else [column.field for column in labels.columns]
        schema = pa.schema([SCHEMA.field(0), *rows.schema, *more])
        yield pa.table([documents, *rows.columns, *columns], schema=schema)


def digest_rows(row_groups: Iterable[pa.Table]) -> str:
    """SHA-256 of the values of all rows; equal row groups give equal digests."""
    digest = hashlib.sha256()
    for rows in row_groups:
        for name, values in zip(rows.column_names, rows.columns, strict=True):
            if name.startswith(PREFIX):
                digest.update(array_of(pc.cast(pc.is_valid(values), pa.uint8())).tobytes())
                values = pc.drop_null(values)
            if pa.types.is_string(values.type):
                lengths = array_of(pc.binary_length(values))
                digest.update(np.ascontiguousarray(lengths, np.int32).data)
                digest.update("".join(values.to_pylist()).encode())
            elif pa.types.is_floating(values.type):  # may be null
                digest.update(np.packbits(array_of(pc.cast(values.is_valid(), pa.uint8()))).data)
                digest.update(array_of(pc.fill_null(values, 0.0)).data)
            else:
                digest.update(np.ascontiguousarray(array_of(values)).data)
    return digest.hexdigest()
