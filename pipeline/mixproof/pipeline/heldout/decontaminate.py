"""Decontamination: drop training documents that overlap with held-out or evaluation texts.

A training document is dropped when it contains at least `overlap` of the word n-grams of such a text, or the text
contains as much of the document (`overlap.py`), or both are the same byte for byte, or, of conversations, if both
answer the same prompt. Every source is checked against the
held-out texts of all sources. One task indexes the texts; then a task per shard writes a bitmap, a list of the
dropped documents with the text that each matches most, and a list of all their matches. With `ignore_frequent` a pass
before it counts n-grams (`frequent.py`). Held-out documents are not training documents: they pass through the
ledger row unchanged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.account import Count, StageRow, sum_rows
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.blocks.heldout import Decontaminate
from mixproof.pipeline.bitmap import Bitmap, bitmap_of, read_bitmap, save_bitmap
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.columns import array_of, table_of
from mixproof.pipeline.read.documents import RemovalList, SourceDocuments
from mixproof.pipeline.read.selection import Selection
from mixproof.pipeline.read.shards import DOCUMENTS, Shard

from .evaluation import EvaluationFile
from .frequent_stage import CountTask, index_without_frequent
from .heldout_set import PROMPT_HASH, Heldout
from .match_lists import MATCHES, match_rows, write_matches
from .overlap import Match, OverlapIndex, find_all_overlaps
from .overlap_index import INDEX, IndexedTexts, index_key, load_index, make_index

log = logging.getLogger(__name__)

DECONTAMINATE = "decontaminate"
VERSION = 2
HELDOUT_OVERLAP = "heldout_overlap"
HELDOUT_PROMPT = "heldout_prompt"
EVALUATION_OVERLAP = "evaluation_overlap"
DROPPED = "dropped.parquet"
BATCH_BYTES = 1 << 20
"""Bytes of text that are matched at a time, so that the arrays stay in a core's cache."""
SHOWN_CHARS = 200

DROPPED_SCHEMA = pa.schema(
    [
        pa.field("record", pa.int64()),
        pa.field("file", pa.string()),
        pa.field("id", pa.string()),
        pa.field("text_xxh128", pa.string()),
        pa.field("text_bytes", pa.int64()),
        pa.field("start", pa.string()),
        pa.field("ngrams", pa.int64()),
        pa.field("reason", pa.string()),
        pa.field("shared_ngrams", pa.int64()),
        pa.field("match", pa.string()),
        pa.field("match_record", pa.int64()),
        pa.field("match_xxh128", pa.string()),
        pa.field("match_ngrams", pa.int64()),
        pa.field("match_start", pa.string()),
    ]
)
"""A dropped document and the text that it overlaps with most. `record` counts from the start of the shard; `file` is
null if the shard is of one file; `match` is `heldout/<source>` or `evaluation/<file>`."""


@dataclass(frozen=True)
class Decontaminated:
    """What remains for training."""

    train: dict[str, tuple[Bitmap | None, ...]]
    """For each source one bitmap per shard; None keeps all rows."""
    rows: dict[str, StageRow]
    """The ledger row `decontaminate` of each source, held-out documents included; empty when it is off."""
    lists: dict[str, tuple[RemovalList, ...]]
    """Lists (DROPPED_SCHEMA) of the documents that each source lost: one for each shard that lost any."""
    evaluation: tuple[dict[str, Any], ...] = ()
    """What was read of each evaluation file: `file`, `records`, `texts` by field, and the fields `not_read`."""
    frequent: dict[str, int] | None = None
    """`ignore_frequent`, `ignored_ngrams`, and `unprotected_texts` that have no other n-grams; None: all count."""


def decontaminate(selection: Selection, heldout: Heldout, against: Sequence[EvaluationFile]) -> Decontaminated:
    """Drop training documents that overlap with held-out or evaluation texts.

    Args:
        selection: the documents; `decontaminate` of its spec says how much overlap counts, False drops nothing.
        heldout: the held-out sets, and the training side to search.
        against: the evaluation files, from `find_evaluation_files`.

    Raises:
        RequestError: when a record of an evaluation file cannot be used.
        DamagedFileError: when an evaluation file cannot be read.
    """
    options = selection.spec.decontaminate
    if options is False:
        return Decontaminated(dict(heldout.train), {}, {})
    indexed = _index(options, heldout, against, selection)
    indexed, frequent = _without_frequent(options, indexed, selection, heldout)
    index = indexed.key
    keys: list[str] = []
    parts: list[_Part] = []
    for name, source in selection.sources.items():
        for shard, bitmap in zip(source.shards, heldout.train[name], strict=True):
            identity = [shard.documents_sha256, None if bitmap is None else bitmap.sha256, index]
            keys.append(stage_key(DECONTAMINATE, VERSION, {"overlap": options.overlap}, identity))
            parts.append(_Part(name, shard, bitmap))

    def calls(missing: Mapping[str, _Part]) -> list[tuple[object, ...]]:
        return [
            (selection.store, key, index, part.shard.folder, part.shard.documents, part.bitmap, str(options.overlap))
            for key, part in missing.items()
        ]

    work = dict(zip(keys, parts, strict=True))  # shards of equal content share a key
    receipts = run_missing(
        selection.store,
        DECONTAMINATE,
        work,
        calls,
        decontaminate_shard,
        selection.cluster,
        "decontaminate",
        call_bytes=lambda call: work[str(call[1])].shard.text_bytes,
    )
    found = _gather(selection.sources, heldout, parts, [receipts[key] for key in keys])
    return replace(found, evaluation=tuple(indexed.facts["evaluation"]), frequent=frequent)


def _without_frequent(
    options: Decontaminate, indexed: Receipt, selection: Selection, heldout: Heldout
) -> tuple[Receipt, dict[str, int] | None]:
    """The index that is searched, and what is not in it because it is frequent in the training side."""
    if options.ignore_frequent is None:
        return indexed, None
    tasks = [
        CountTask(shard, bitmap)
        for name, source in selection.sources.items()
        for shard, bitmap in zip(source.shards, heldout.train[name], strict=True)
    ]
    found = index_without_frequent(selection.store, selection.cluster, indexed.key, tasks, options.ignore_frequent)
    names = ("ignore_frequent", "ignored_ngrams", "unprotected_texts")
    return found, {name: int(found.facts[name]) for name in names}


def decontaminate_shard(
    store: Store, key: str, index_key: str, folder: str, documents: int, keep: Bitmap | None, overlap: str
) -> None:
    """Search one shard: write its account and, if documents are dropped, a bitmap and a list."""
    index, texts = load_index(store, index_key)
    kept = read_bitmap(store, keep, documents).copy()
    before, size = int(kept.sum()), 0
    rows: list[dict[str, Any]] = []
    listed: list[tuple[Any, ...]] = []
    for batch in _batches(store, folder):
        candidates = np.flatnonzero(kept[batch.first : batch.first + len(batch.texts)])
        size += int(batch.sizes[candidates].sum())
        matches = _matches(index, texts, batch, candidates, Fraction(overlap))
        for row, (every, reason) in sorted(matches.items()):
            kept[batch.first + row] = False
            rows.append(_dropped_row(batch, row, every[0], reason, texts))
            listed += match_rows(batch.row(row), every, index, texts)
    with store.attempt(DECONTAMINATE, key) as attempt:
        if rows:
            save_bitmap(attempt.path("keep.npy"), kept)
            dropped = [tuple(row[name] for name in DROPPED_SCHEMA.names) for row in rows]
            pq.write_table(table_of(dropped, DROPPED_SCHEMA), attempt.path(DROPPED), compression="zstd")
            write_matches(listed, attempt.path(MATCHES))
        attempt.commit(account=(_account(before, size, rows),), facts={"kept": int(kept.sum())})
    log.debug("%s: dropped %d of %d documents of %s", DECONTAMINATE, len(rows), before, folder)


@dataclass(frozen=True)
class _Part:
    """A shard and its training side."""

    source: str
    shard: Shard
    bitmap: Bitmap | None


@dataclass(frozen=True)
class _Batch:
    """Consecutive rows of a shard."""

    first: int
    """Index in the shard of the first row."""
    columns: dict[str, list[Any]]

    def row(self, number: int) -> dict[str, Any]:
        return {name: column[number] for name, column in self.columns.items()}

    @property
    def texts(self) -> list[str]:
        return self.columns["text"]

    @property
    def sizes(self) -> NDArray[np.int64]:
        return np.array(self.columns["text_bytes"], dtype=np.int64)


def _batches(store: Store, folder: str) -> Iterator[_Batch]:
    """Yield the rows of a shard, about BATCH_BYTES of text at a time."""
    row = 0
    with pq.ParquetFile(store.path(f"{folder}/{DOCUMENTS}")) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            blocks = np.cumsum(array_of(table["text_bytes"])) // BATCH_BYTES
            bounds = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), len(blocks)]
            for first, last in pairwise(bounds):
                yield _Batch(row + first, table.slice(first, last - first).to_pydict())
            row += len(blocks)


def _matches(
    index: OverlapIndex,
    texts: IndexedTexts,
    batch: _Batch,
    candidates: NDArray[np.int64],
    overlap: Fraction,
) -> dict[int, tuple[list[Match], str]]:
    """Find the documents to drop among the rows `candidates` of a batch, by their row in the batch.

    Each has its matches, the best first, and the reason.
    """
    overlaps = find_all_overlaps(index, [batch.texts[row] for row in candidates], overlap)
    matches = {int(candidates[number]): every for number, every in overlaps.items()}
    for row in candidates.tolist():
        same = texts.by_hash.get(batch.columns["text_xxh128"][row].hex())
        if same is not None and row not in matches:  # the same text, which has no words
            matches[row] = [Match(same, 0, 0, 0)]
    found = {
        row: (every, HELDOUT_OVERLAP if every[0].text < index.protected else EVALUATION_OVERLAP)
        for row, every in matches.items()
    }
    for row in candidates.tolist() if texts.by_prompt and PROMPT_HASH in batch.columns else ():
        held_out = texts.by_prompt.get(batch.columns[PROMPT_HASH][row].hex())
        if held_out is not None:
            found[row] = ([Match(held_out, 0, 0, 0)], HELDOUT_PROMPT)
    return found


def _dropped_row(batch: _Batch, number: int, match: Match, reason: str, texts: IndexedTexts) -> dict[str, Any]:
    row = batch.row(number)
    described = texts.describe(match.text)
    return {
        "record": row["record"],
        "file": row.get("file"),
        "id": row["id"],
        "text_xxh128": row["text_xxh128"].hex(),
        "text_bytes": row["text_bytes"],
        "start": row["text"][:SHOWN_CHARS],
        "ngrams": match.document_grams,
        "reason": reason,
        "shared_ngrams": match.shared,
        "match_ngrams": match.text_grams,
        **{name: described[name] for name in ("match", "match_record", "match_xxh128", "match_start")},
    }


def _account(documents: int, size: int, rows: Sequence[Mapping[str, Any]]) -> StageRow:
    dropped: dict[str, Count] = {}
    for row in rows:
        count = Count(documents=1, bytes=row["text_bytes"])
        dropped[row["reason"]] = dropped.get(row["reason"], Count(documents=0, bytes=0)) + count
    return StageRow(
        stage=DECONTAMINATE,
        documents_in=documents,
        documents_out=documents - len(rows),
        bytes_in=size,
        bytes_out=size - sum(row["text_bytes"] for row in rows),
        dropped=dict(sorted(dropped.items())),
    ).check()


def _index(
    options: Decontaminate, heldout: Heldout, against: Sequence[EvaluationFile], selection: Selection
) -> Receipt:
    """Index the texts to protect unless the store has the index; returns its receipt."""
    sets = [heldout.texts[name] for name in sorted(heldout.texts)]
    key = index_key(options.ngram, sets, against)

    def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
        return [(selection.store, each, ngram, sets, list(against)) for each, ngram in missing.items()]

    work = {key: options.ngram}
    return run_missing(selection.store, INDEX, work, calls, make_index, selection.cluster, "index held-out texts")[key]


def _gather(
    sources: Mapping[str, SourceDocuments], heldout: Heldout, parts: Sequence[_Part], receipts: Sequence[Receipt]
) -> Decontaminated:
    """Put the results of shards together by source."""
    train: dict[str, tuple[Bitmap | None, ...]] = {}
    rows: dict[str, StageRow] = {}
    lists: dict[str, tuple[RemovalList, ...]] = {}
    for name in sources:
        found = [(part, receipt) for part, receipt in zip(parts, receipts, strict=True) if part.source == name]
        train[name] = tuple(
            bitmap_of(receipt, int(receipt.facts["kept"])) if receipt.files else part.bitmap for part, receipt in found
        )
        lists[name] = tuple(_list(part.shard, receipt) for part, receipt in found if receipt.files)
        taken = heldout.texts[name].taken
        untouched = StageRow(
            stage=DECONTAMINATE,
            documents_in=taken.documents,
            documents_out=taken.documents,
            bytes_in=taken.bytes,
            bytes_out=taken.bytes,
        )
        rows[name] = sum_rows([untouched, *(receipt.account[0] for _, receipt in found)]).check(source=name)
    return Decontaminated(train, rows, lists)


def _list(shard: Shard, receipt: Receipt) -> RemovalList:
    row = receipt.account[0]
    path = f"{DECONTAMINATE}/{receipt.key}/{DROPPED}"
    return RemovalList(
        "decontaminated", path, shard.file or None, shard.first_record, row.documents_in - row.documents_out
    )
