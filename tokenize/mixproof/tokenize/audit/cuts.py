"""The lists of paragraphs and substrings that deduplication removed from a source, checked against its ledger.

Replay uses the same lists: the text of a document is its original text without what is listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mixproof.ledger.account import Count
from mixproof.ledger.records.dropped import CutsRecord
from mixproof.ledger.records.source import SourceRecord
from mixproof.ledger.store import Store

from .arithmetic import PARAGRAPHS, SUBSTRINGS
from .inputs import Inputs, read_table
from .report import Checks
from .rows import check_parquet

_DOCUMENT = {"file": "string", "record": "int64", "id": "string"}
_LOSS = {"lost_to": "string", "bytes": "int64", "dropped": "string"}
_NUMBERS, _TEXTS = "list<element: int64>", "list<element: string>"
COLUMNS = {
    PARAGRAPHS: {**_DOCUMENT, "paragraphs": "list<element: int32>", **_LOSS},
    SUBSTRINGS: {
        **_DOCUMENT,
        "starts": _NUMBERS,
        "lengths": _NUMBERS,
        "kept_sources": _TEXTS,
        "kept_files": _TEXTS,
        "kept_records": _NUMBERS,
        "kept_starts": _NUMBERS,
        "xxh128": _TEXTS,
        **_LOSS,
    },
}
"""Of the lists, by the ledger stage that wrote them."""
Cuts = dict[tuple[str, int], frozenset[int]]
"""The removed lines of a document, counted from 0, by its file and record."""


def check_cuts(root: Path, source: SourceRecord, inputs: Inputs | None, checks: Checks) -> None:
    """Check that every list is intact and in order, and that together they sum to the ledger's rows."""
    _check_lists(root, PARAGRAPHS, source.cuts, source, inputs, checks)
    _check_lists(root, SUBSTRINGS, source.substring_cuts, source, inputs, checks)


def _check_lists(
    root: Path, stage: str, lists: Sequence[CutsRecord], source: SourceRecord, inputs: Inputs | None, checks: Checks
) -> None:
    row = next((row for row in source.ledger if row.stage == stage), None)
    removed, dropped, last = 0, dict[str, Count](), -1
    for part in lists:
        path = check_parquet(root, part.path, part.sha256, checks)
        at = checks.at(file=str(root / part.path), stage=stage)
        table = None if path is None else read_table(path, COLUMNS[stage], at, nullable=["id", "dropped"])
        if table is None:
            return
        at.equal("E2", "documents", part.documents, len(table))
        if inputs is not None:
            positions = inputs.positions(table["file"].combine_chunks(), table["record"].to_numpy().copy())
            steps = np.diff(np.append(last, positions))
            at.true("schema", bool((steps > 0).all()), "documents of the source in order, each once", "another order")
            last = int(positions[-1]) if len(positions) else last
        matches = [table[name] for name in COLUMNS[stage] if name not in {**_DOCUMENT, **_LOSS}]
        counts = {tuple(pc.list_value_length(column).to_pylist()) for column in matches}
        at.equal("schema", "different numbers of items in one document", 0, len(counts) - 1)
        is_kept = pc.is_null(table["dropped"])
        removed += pc.sum(table.filter(is_kept)["bytes"]).as_py() or 0
        for reason, count in _counts(table.filter(pc.invert(is_kept))).items():
            dropped[reason] = dropped.get(reason, Count(documents=0, bytes=0)) + count
    at = checks.at(stage=stage)
    stated_bytes, stated_dropped = (0, {}) if row is None else (row.bytes_removed, row.dropped)
    at.equal("E2", f"bytes removed by the lists of {stage}", stated_bytes, removed)
    at.equal("E2", f"dropped by the lists of {stage}", _describe(stated_dropped), _describe(dropped))


def _counts(dropped: pa.Table) -> dict[str, Count]:
    sizes: Counter[str] = Counter()
    documents: Counter[str] = Counter()
    for reason, size in zip(dropped["dropped"].to_pylist(), dropped["bytes"].to_pylist(), strict=True):
        sizes[reason] += size
        documents[reason] += 1
    return {reason: Count(documents=documents[reason], bytes=sizes[reason]) for reason in documents}


def _describe(dropped: dict[str, Count]) -> str:
    return ", ".join(f"{reason}: {each.documents} of {each.bytes} bytes" for reason, each in sorted(dropped.items()))


def read_cuts(store: Store, source: SourceRecord, files: Collection[str]) -> Cuts:
    """The removed lines of every document of these files that was kept."""
    cuts: Cuts = {}
    for part in source.cuts:
        with pq.ParquetFile(store.path(part.path)) as listed:
            for batch in listed.iter_batches(columns=["file", "record", "paragraphs", "dropped"]):
                for row in batch.to_pylist():
                    if row["dropped"] is None and row["file"] in files:
                        cuts[row["file"], row["record"]] = frozenset(row["paragraphs"])
    return cuts
