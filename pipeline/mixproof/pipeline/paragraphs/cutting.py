"""Cutting: rewrite a shard's documents without the paragraphs that other places keep, with account and list of cuts.

A text keeps its other lines byte for byte. A document without any words left is dropped as `no_new_paragraph`, one with
fewer than the required words as `too_short`. The account is like that of a formatter: bytes removed, documents dropped.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.cuts.account import CutAccount, reason_to_drop
from mixproof.pipeline.cuts.documents import participating_documents
from mixproof.pipeline.cuts.lists import LIST, ListKind
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.read.shard_output import DocumentRows, Rows
from mixproof.pipeline.read.shards import DOCUMENTS, HASHES

from .copies import CUTS
from .paragraph_hashes import NEWLINE, STAGE, VERSION

log = logging.getLogger(__name__)

NOTHING_NEW = "no_new_paragraph"

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

LISTS = ListKind(STAGE, VERSION, "lists of paragraphs", LIST_SCHEMA)


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
    cuts = _Cuts(load_array(store.path(f"{STAGE}/{shard.cuts}/{CUTS}")), shard.keepers)
    account = CutAccount(STAGE)
    with store.attempt(STAGE, shard.key) as attempt:
        with (
            DocumentRows(attempt.path(DOCUMENTS), grouped=not shard.file) as documents,
            Rows(attempt.path(LIST), LIST_SCHEMA) as listed,
        ):
            for row, file, record, id_, text in participating_documents(store, shard.folder, shard.file, shard.bitmap):
                kept_text, cut = text, cuts.of(row)
                account.take(text)
                if cut is not None:
                    kept_text = cut_text(text, cut.paragraphs)
                    reason = reason_to_drop(kept_text, shard.min_doc_words, NOTHING_NEW)
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
