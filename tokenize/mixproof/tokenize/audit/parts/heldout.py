"""The held-out set of a source: its texts are hashed again and matched with the provenance of its tokens.

Held-out sets are small (1M tokens by default), so they are read whole. They are read before the training parts, which
must share no document and no text with them. The files of an imported set need not be files of this source.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from mixproof.ledger.records.datasets import DatasetRecord, HeldoutRecord
from mixproof.ledger.records.source import SourceRecord
from mixproof.tokenize.audit.ids.conversation_ids import rendered_of
from mixproof.tokenize.audit.inputs import Inputs, read_table
from mixproof.tokenize.audit.report import Checks
from mixproof.tokenize.audit.rows import check_parquet

from .masks import PLAIN, Form
from .provenance import KNOWN, LENGTHS, NUMBERED

TEXTS_COLUMNS = {
    "file": "string",
    "record": "int64",
    "id": "string",
    "text": "string",
    "text_xxh128": "string",
    "text_bytes": "int64",
}
MARKED_TEXTS_COLUMNS = TEXTS_COLUMNS | {"marks": "string", "prompt_xxh128": "string"}
MATCHED = ["file", "record", "id", "text_xxh128", "text_bytes"]


def check_texts(root: Path, heldout: HeldoutRecord, checks: Checks, *, is_marked: bool = False) -> pa.Table | None:
    """Check the texts of a held-out set against their recorded hashes; None if there are none or they are damaged.

    The texts of conversations have marks and the hashes of prompts. In the result, a record without an id has the id
    `<file>#<record>`, as in a provenance file.
    """
    if heldout.texts is None:
        return None
    path = check_parquet(root, heldout.texts.path, heldout.texts.sha256, checks)
    if path is None:
        return None
    at = checks.at(file=str(path))
    table = read_table(path, MARKED_TEXTS_COLUMNS if is_marked else TEXTS_COLUMNS, at, nullable=["id"])
    if table is None:
        return None
    wrong = {"text_xxh128": 0, "text_bytes": 0}
    for text, digest, text_bytes in zip(
        table["text"].to_pylist(), table["text_xxh128"].to_pylist(), table["text_bytes"].to_pylist(), strict=True
    ):
        raw = text.encode()
        wrong["text_xxh128"] += xxhash.xxh3_128_hexdigest(raw) != digest
        wrong["text_bytes"] += len(raw) != text_bytes
    for column, count in wrong.items():
        at.equal("checksum", f"texts with a wrong {column}", 0, count)
    names = pc.binary_join_element_wise(table["file"], pc.cast(table["record"], pa.string()), "#")
    table = table.set_column(table.schema.get_field_index("id"), "id", pc.coalesce(table["id"], names))
    return table.select([*MATCHED, "text", *(("marks", "prompt_xxh128") if is_marked else ())])


def conversations_of(texts: pa.Table) -> pa.Table:
    """The documents of a set of conversations: two for a pair, each with the text, hash and size of its own."""
    listed = []
    for row in texts.to_pylist():
        for rendered in rendered_of(row["text"], row["marks"]):
            raw = rendered.text.encode()
            own = {"text": rendered.text, "text_xxh128": xxhash.xxh3_128_hexdigest(raw), "text_bytes": len(raw)}
            listed.append(row | own)
    return pa.Table.from_pylist(listed, schema=texts.schema)


def check_rows(
    path: Path, part: DatasetRecord, lengths: np.ndarray | None, checks: Checks, form: Form = PLAIN
) -> pa.Table | None:
    """Check the provenance of one held-out part by itself; its rows, or None if it cannot be read."""
    rows = read_table(path, form.columns, checks, nullable=form.nullable)
    if rows is None:
        return None
    checks.equal("E6", "documents in the provenance", part.documents, rows.num_rows)
    numbered = np.array_equal(rows["document"].to_numpy(), np.arange(rows.num_rows))
    checks.true("schema", numbered, NUMBERED, "other numbers")
    if lengths is not None:
        checks.true("E5", np.array_equal(rows["tokens"].to_numpy(), lengths), LENGTHS, "other lengths")
    return rows


def check_set(
    source: SourceRecord,
    texts: pa.Table | None,
    parts: Sequence[pa.Table],
    inputs: Inputs | None,
    checks: Checks,
) -> np.ndarray:
    """Check all parts of a held-out set together.

    Args:
        source: the source in the manifest.
        texts: rows of the texts file; None if it failed its checks.
        parts: provenance rows of each part, in order; all parts must be readable.
        inputs: the source's raw files; None if that list failed its checks.
        checks: receives the results.

    Returns:
        [documents] positions of the held-out documents in the source, ascending; empty for an imported set.
    """
    heldout = source.heldout
    if not parts:
        return np.zeros(0, np.int64)
    rows = pa.concat_tables(parts)
    checks.equal("E6", "bytes in all parts", heldout.bytes, int(rows["text_bytes"].to_numpy().sum()))
    if texts is not None:
        _check_against_texts(source, texts, rows, checks)
    if heldout.imported_from is not None or inputs is None:
        return np.zeros(0, np.int64)
    positions = inputs.positions(rows["file"].combine_chunks(), rows["record"].to_numpy())
    checks.true("E1", bool((positions >= 0).all()), KNOWN, f"{int((positions < 0).sum())} others")
    records = len(positions) // source.documents_per_record
    checks.equal("E4", "documents held out twice", 0, records - len(np.unique(positions)))
    return np.sort(positions)


def _check_against_texts(source: SourceRecord, texts: pa.Table, rows: pa.Table, checks: Checks) -> None:
    """Every encoded document is one of the texts, in the same order; only texts without tokens may be missing."""
    texts = texts if source.kind is None else conversations_of(texts)
    order = {row: number for number, row in enumerate(zip(*(texts[name].to_pylist() for name in MATCHED), strict=True))}
    numbers = [order.get(row, -1) for row in zip(*(rows[name].to_pylist() for name in MATCHED), strict=True)]
    checks.equal("E4", "held-out documents without a text", 0, numbers.count(-1))
    if -1 not in numbers:
        checks.true("E6", numbers == sorted(set(numbers)), "held-out documents in the order of their texts", "another")
    missing = texts.num_rows - rows.num_rows
    empty = sum(drop.documents for row in source.ledger if row.stage == "encode" for drop in row.dropped.values())
    empty *= source.documents_per_record
    allowed = missing >= 0 and (missing <= empty or source.heldout.imported_from is not None)
    checks.true("E5", allowed, f"at most {empty} held-out texts without tokens", f"{missing}")


def hashes_of(tables: Sequence[pa.Table]) -> pa.Array:
    """The distinct text hashes of texts files and provenance files."""
    return values_of(tables, "text_xxh128")


def values_of(tables: Sequence[pa.Table], name: str) -> pa.Array:
    """The distinct values of a column of hashes."""
    columns = [chunk for table in tables for chunk in table[name].cast(pa.string()).chunks]
    return pc.unique(pa.chunked_array(columns, pa.string()))
