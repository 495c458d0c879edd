"""Cutting: rewrite a shard's documents without the paragraphs that other places keep, with account and list of cuts.

A text keeps its other lines byte for byte. A document without any words left is dropped as `no_new_paragraph`, one with
fewer than the required words as `too_short`. The account is like that of a formatter: bytes removed, documents dropped.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.store import Store
from mixproof.pipeline.read.shard_output import ROW_GROUP_ROWS, DocumentRows, Rows
from mixproof.pipeline.read.shards import DOCUMENTS, HASHES
from mixproof.pipeline.words.words import word_blocks

from .copies import CUTS
from .paragraph_hashes import NEWLINE, STAGE

log = logging.getLogger(__name__)

LIST = "list.parquet"
NOTHING_NEW, TOO_SHORT = "no_new_paragraph", "too_short"

LIST_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("record", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("paragraphs", pa.list_(pa.int32())),
        pa.field("lost_to", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("dropped", pa.string()),
    ]
)
"""A document that lost paragraphs: their indices from 0; the source that keeps most of their bytes; the UTF-8 bytes
that were removed, or those of the whole text if it was dropped; and the reason for that, else null."""


def cut_text(text: bytes, paragraphs: Collection[int]) -> bytes:
    """Return a text without some of its lines, counted from 0."""
    starts, ends = _lines(text)
    stays = np.ones(len(starts), np.bool_)
    stays[list(paragraphs)] = False
    if not stays.any():
        return b""
    last = len(stays) - 1 - int(stays[::-1].argmax())
    edges = np.zeros(len(text) + 1, np.int8)
    cuts = np.flatnonzero(~stays[:last])
    edges[starts[cuts]] += 1
    edges[ends[cuts] + 1] -= 1  # its newline goes too
    is_kept = np.cumsum(edges[: ends[last]], dtype=np.int8) == 0
    kept: bytes = np.frombuffer(text, np.uint8)[: ends[last]][is_kept].tobytes()
    return kept


def _lines(text: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and end of each line, int64 [lines]."""
    newlines = np.flatnonzero(np.frombuffer(text, np.uint8) == NEWLINE)
    return np.concatenate(([0], newlines + 1)), np.append(newlines, len(text))


@dataclass(frozen=True)
class ShardCut:
    """What a task needs to cut one shard."""

    key: str
    folder: str
    """Folder of its documents."""
    file: str
    """Name of the input file; "" where the documents name theirs."""
    bitmap: str | None
    """Path of the bitmap of participating rows; None: all."""
    cuts: str
    """Key of what to cut."""
    keepers: Sequence[str]
    """Sources that keep the paragraphs; the cuts refer to these by index."""
    min_doc_words: int


def cut_shards(store: Store, shards: Sequence[ShardCut]) -> None:
    """Rewrite several shards."""
    for shard in shards:
        _cut_shard(store, shard)


def _cut_shard(store: Store, shard: ShardCut) -> None:
    cuts = _Cuts(np.load(store.path(f"{STAGE}/{shard.cuts}/{CUTS}")), shard.keepers)
    account = _Account()
    with store.attempt(STAGE, shard.key) as attempt:
        with (
            DocumentRows(attempt.path(DOCUMENTS), grouped=not shard.file) as documents,
            Rows(attempt.path(LIST), LIST_SCHEMA) as listed,
        ):
            for row, file, record, id_, text in _documents(store, shard):
                kept_text, cut = text, cuts.of(row)
                account.take(text)
                if cut is not None:
                    kept_text = cut_text(text, cut.paragraphs)
                    reason = _reason_to_drop(kept_text, shard.min_doc_words)
                    by_keeper = cut.bytes_by_keeper(text)
                    keeper = min(by_keeper, key=lambda name: (-by_keeper[name], name))
                    size = len(text) - (len(kept_text) if reason is None else 0)
                    account.lose(reason, by_keeper if reason is None else {keeper: size})
                    listed.add((file, record, id_, cut.paragraphs, keeper, size, reason))
                    if reason is not None:
                        continue
                documents.add(() if shard.file else (file,), record, id_, kept_text)
        documents.save_hashes(attempt.path(HASHES))
        attempt.commit(account=(account.row(),), facts={"lost": account.lost(), "listed": account.listed})
    log.debug("%s: cut %s, %d documents changed", STAGE, shard.file or shard.folder, account.listed)


def _documents(store: Store, shard: ShardCut) -> Iterator[tuple[int, str, int, str | None, bytes]]:
    """Yield row, file, record, id and text of each participating document."""
    keep = None if shard.bitmap is None else np.load(store.path(shard.bitmap), mmap_mode="r")
    columns = ["record", "id", "text"] if shard.file else ["file", "record", "id", "text"]
    first = 0
    with pq.ParquetFile(store.path(f"{shard.folder}/{DOCUMENTS}")) as file:
        for batch in file.iter_batches(ROW_GROUP_ROWS, columns=columns):
            names = [shard.file] * len(batch) if shard.file else batch["file"].to_pylist()
            texts = batch["text"].view(pa.large_binary())
            ids = zip(names, batch["record"].to_pylist(), batch["id"].to_pylist(), strict=True)
            for index, (name, record, id_) in enumerate(ids):
                if keep is None or keep[first + index]:
                    yield first + index, name, record, id_, texts[index].as_py()
            first += len(batch)


@dataclass(frozen=True)
class _DocumentCut:
    """The paragraphs that one document loses."""

    paragraphs: list[int]
    keepers: list[str]

    def bytes_by_keeper(self, text: bytes) -> Counter[str]:
        """Count the UTF-8 bytes that are cut, newlines included, by the source that keeps them."""
        sizes: Counter[str] = Counter()
        starts, ends = _lines(text)
        lengths = (ends - starts)[self.paragraphs].tolist()
        for length, keeper in zip(lengths, self.keepers, strict=True):
            sizes[keeper] += length + 1
        return sizes


def _reason_to_drop(text: bytes, min_doc_words: int) -> str | None:
    words = 0
    for block in word_blocks(text):
        words += len(block)
        if words >= max(min_doc_words, 1):
            return None
    if not words:
        return NOTHING_NEW
    return TOO_SHORT


class _Cuts:
    """The cuts of a shard, by row."""

    def __init__(self, cuts: NDArray[Any], keepers: Sequence[str]) -> None:
        self._cuts, self._keepers = cuts, keepers
        rows, starts = np.unique(cuts["row"], return_index=True)
        ends = np.append(starts[1:], len(cuts))
        self._spans = dict(zip(rows.tolist(), zip(starts.tolist(), ends.tolist(), strict=True), strict=True))

    def of(self, row: int) -> _DocumentCut | None:
        span = self._spans.get(row)
        if span is None:
            return None
        cuts = self._cuts[slice(*span)]
        return _DocumentCut(cuts["paragraph"].tolist(), [self._keepers[each] for each in cuts["keeper"]])


class _Account:
    """The account of cutting one shard."""

    def __init__(self) -> None:
        self._documents_in = self._bytes_in = self._removed = self.listed = 0
        self._dropped: dict[str, Count] = {}
        self._lost: dict[str, Count] = {}

    def take(self, text: bytes) -> None:
        self._documents_in += 1
        self._bytes_in += len(text)

    def lose(self, reason: str | None, by_keeper: Mapping[str, int]) -> None:
        """Count lost bytes by the source that keeps them; those of the whole text if it is dropped for `reason`."""
        self.listed += 1
        if reason is None:
            self._removed += sum(by_keeper.values())
        else:
            _add(self._dropped, reason, Count(documents=1, bytes=sum(by_keeper.values())))
        for keeper, size in by_keeper.items():
            _add(self._lost, keeper, Count(documents=int(reason is not None), bytes=size))

    def lost(self) -> list[list[object]]:
        """Return rows [keeper's source, documents, bytes], sorted."""
        return [[name, count.documents, count.bytes] for name, count in sorted(self._lost.items())]

    def row(self) -> StageRow:
        dropped = sum(self._dropped.values(), Count(documents=0, bytes=0))
        return StageRow(
            stage=STAGE,
            documents_in=self._documents_in,
            documents_out=self._documents_in - dropped.documents,
            bytes_in=self._bytes_in,
            bytes_out=self._bytes_in - dropped.bytes - self._removed,
            bytes_removed=self._removed,
            dropped=dict(sorted(self._dropped.items())),
        )


def _add(counts: dict[str, Count], name: str, count: Count) -> None:
    counts[name] = counts.get(name, Count(documents=0, bytes=0)) + count
