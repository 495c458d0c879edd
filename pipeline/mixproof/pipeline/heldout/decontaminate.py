"""Decontamination: training documents that overlap with held-out or evaluation texts are dropped.

A training document goes when it holds at least `overlap` of the word n-grams of such a text, or the text
holds as much of it (`overlap.py`), and when it is the same text byte for byte. Every source is checked
against the held-out texts of all sources. One task indexes the texts, then one task a shard drops, with a
bitmap and a list of what was dropped beside the text that it matched. Held-out documents are no training
documents: they pass through the ledger's row untouched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.account import Count, StageRow, sum_rows
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.receipts import find_receipts
from mixproof.ledger.sealed import seal_receipts
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.spec import Decontaminate, Spec
from mixproof.pipeline.bitmap import Bitmap, bitmap_of, read_bitmap, save_bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.columns import array_of, table_of
from mixproof.pipeline.read.documents import SourceDocuments
from mixproof.pipeline.read.shards import DOCUMENTS, Shard

from .evaluation import EvaluationFile
from .heldout import Heldout
from .overlap import Match, OverlapIndex, find_overlaps
from .overlap_index import INDEX, IndexedTexts, index_key, load_index, make_index

DECONTAMINATE = "decontaminate"
VERSION = 1
HELDOUT_OVERLAP = "heldout_overlap"
EVALUATION_OVERLAP = "evaluation_overlap"
DROPPED = "dropped.parquet"
BATCH_BYTES = 1 << 20
"""Text that is matched at a time: its arrays stay in a core's cache."""
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
"""A dropped document and the text it overlaps with most. `record` counts from the start of the shard, and
`file` is null where the shard is of one file; `match` is `heldout/<source>` or `evaluation/<file>`."""


@dataclass(frozen=True)
class Decontaminated:
    """What is left to train on."""

    train: dict[str, tuple[Bitmap | None, ...]]
    """Aligned with each source's shards; None keeps all rows."""
    rows: dict[str, StageRow]
    """The ledger's row `decontaminate` per source, held-out documents included; empty when it is off."""
    dropped: dict[str, tuple[str | None, ...]]
    """Per shard the Parquet (DROPPED_SCHEMA), relative to the store, of what was dropped; None: nothing."""


def decontaminate(
    spec: Spec,
    sources: Mapping[str, SourceDocuments],
    heldout: Heldout,
    against: Sequence[EvaluationFile],
    store: Store,
    cluster: Cluster,
) -> Decontaminated:
    """Drop training documents that overlap with held-out or evaluation texts.

    Args:
        spec: its `decontaminate` says how much overlap counts; False drops nothing.
        sources: the documents, by source.
        heldout: the held-out sets, and the training side to look through.
        against: the evaluation files, from `find_evaluation_files`.
        store: where outputs go.
        cluster: runs the tasks.

    Raises:
        RequestError: when an evaluation file's record cannot be used.
        DamagedFileError: when an evaluation file cannot be read.
    """
    if spec.decontaminate is False:
        return Decontaminated(dict(heldout.train), {}, {})
    index = _index(spec.decontaminate, heldout, against, store, cluster)
    overlap = spec.decontaminate.overlap
    places, keys = [], []
    for name, source in sources.items():
        for shard, bitmap in zip(source.shards, heldout.train[name], strict=True):
            identity = [shard.documents_sha256, None if bitmap is None else bitmap.sha256, index]
            keys.append(stage_key(DECONTAMINATE, VERSION, {"overlap": overlap}, identity))
            places.append((name, shard, bitmap))
    known = find_receipts(store, DECONTAMINATE, keys)
    missing = {
        key: (str(store), key, index, shard.folder, shard.documents, bitmap, str(overlap))
        for key, (_, shard, bitmap) in zip(keys, places, strict=True)
        if key not in known
    }
    made = cluster.run(decontaminate_shard, list(missing.values()), label="decontaminate")
    receipts = known | dict(zip(missing, made, strict=True))
    seal_receipts(store, DECONTAMINATE, receipts.beside)
    cluster.count(run=len(missing), reused=len(known))
    return _gather(sources, heldout, places, [receipts[key] for key in keys])


def decontaminate_shard(
    store_url: str, key: str, index_key: str, folder: str, documents: int, keep: Bitmap | None, overlap: str
) -> Receipt:
    """Look through one shard: its account, and where something is dropped a bitmap and a list."""
    store = Store(store_url)
    index, texts = load_index(store, index_key)
    kept = read_bitmap(store, keep, documents).copy()
    before, size = int(kept.sum()), 0
    rows: list[dict[str, Any]] = []
    for batch in _batches(store, folder):
        inside = np.flatnonzero(kept[batch.first : batch.first + len(batch.texts)])
        size += int(batch.sizes[inside].sum())
        matches = _matches(index, texts, batch, inside, Fraction(overlap))
        for place, match in sorted(matches.items()):
            kept[batch.first + place] = False
            rows.append(_dropped_row(batch, place, match, index, texts))
    with store.attempt(DECONTAMINATE, key) as attempt:
        if rows:
            save_bitmap(attempt.path("keep.npy"), kept)
            listed = [tuple(row[name] for name in DROPPED_SCHEMA.names) for row in rows]
            pq.write_table(table_of(listed, DROPPED_SCHEMA), attempt.path(DROPPED), compression="zstd")
        account = _account(before, size, rows)
        return attempt.commit(account=(account,), facts={"kept": int(kept.sum())})


@dataclass(frozen=True)
class _Batch:
    """Some rows of a shard in a row."""

    first: int
    """Row of the first in the shard."""
    columns: dict[str, list[Any]]

    @property
    def texts(self) -> list[str]:
        return self.columns["text"]

    @property
    def sizes(self) -> NDArray[np.int64]:
        return np.array(self.columns["text_bytes"], dtype=np.int64)


def _batches(store: Store, folder: str) -> Iterator[_Batch]:
    """The rows of a shard, about BATCH_BYTES of text at a time."""
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
    inside: NDArray[np.int64],
    overlap: Fraction,
) -> dict[int, Match]:
    """The documents of a batch to drop, among the rows `inside`, by their place in the batch."""
    found = find_overlaps(index, [batch.texts[place] for place in inside], overlap)
    matches = {int(inside[number]): match for number, match in found.items()}
    for place in inside.tolist():
        same = texts.by_hash.get(batch.columns["text_xxh128"][place].hex())
        if same is not None and place not in matches:  # the same text, without a word in it
            matches[place] = Match(same, 0, 0, 0)
    return matches


def _dropped_row(batch: _Batch, place: int, match: Match, index: OverlapIndex, texts: IndexedTexts) -> dict[str, Any]:
    row = {name: column[place] for name, column in batch.columns.items()}
    return {
        "record": row["record"],
        "file": row.get("file"),
        "id": row["id"],
        "text_xxh128": row["text_xxh128"].hex(),
        "text_bytes": row["text_bytes"],
        "start": row["text"][:SHOWN_CHARS],
        "ngrams": match.document_grams,
        "reason": HELDOUT_OVERLAP if match.text < index.protected else EVALUATION_OVERLAP,
        "shared_ngrams": match.shared,
        "match_ngrams": match.text_grams,
        **texts.describe(match.text),
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
    options: Decontaminate, heldout: Heldout, against: Sequence[EvaluationFile], store: Store, cluster: Cluster
) -> str:
    """Index the texts to protect, unless that is done; returns the index's key."""
    sets = [heldout.texts[name] for name in sorted(heldout.texts)]
    key = index_key(options.ngram, sets, against)
    known = store.receipt(INDEX, key) is not None
    if not known:
        cluster.run(make_index, [(str(store), key, options.ngram, sets, list(against))], label="index held-out texts")
    cluster.count(run=int(not known), reused=int(known))
    return key


def _gather(
    sources: Mapping[str, SourceDocuments],
    heldout: Heldout,
    places: Sequence[tuple[str, Shard, Bitmap | None]],
    receipts: Sequence[Receipt],
) -> Decontaminated:
    train: dict[str, tuple[Bitmap | None, ...]] = {}
    rows: dict[str, StageRow] = {}
    dropped: dict[str, tuple[str | None, ...]] = {}
    for name in sources:
        mine = [(place[2], receipt) for place, receipt in zip(places, receipts, strict=True) if place[0] == name]
        train[name] = tuple(
            bitmap_of(receipt, int(receipt.facts["kept"])) if receipt.files else bitmap for bitmap, receipt in mine
        )
        dropped[name] = tuple(
            f"{DECONTAMINATE}/{receipt.key}/{DROPPED}" if receipt.files else None for _, receipt in mine
        )
        taken = heldout.texts[name].taken
        untouched = StageRow(
            stage=DECONTAMINATE,
            documents_in=taken.documents,
            documents_out=taken.documents,
            bytes_in=taken.bytes,
            bytes_out=taken.bytes,
        )
        rows[name] = sum_rows([untouched, *(receipt.account[0] for _, receipt in mine)]).check(source=name)
    return Decontaminated(train, rows, dropped)
