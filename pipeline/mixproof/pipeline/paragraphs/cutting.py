"""Cutting: a shard's documents without the paragraphs that other places keep, its account, and the list of what went.

A text keeps its other lines byte for byte. A document of which no word is left goes as `no_new_paragraph`, one that is
left with fewer words than asked as `too_short`. The account is that of a formatter: bytes removed, documents dropped.
"""

from __future__ import annotations

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
from mixproof.pipeline.words.words import word_hashes_of_utf8

from .copies import CUTS
from .paragraph_hashes import STAGE

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
"""A document that lost paragraphs: which, counted from 0; the source that keeps most of their bytes; the UTF-8 bytes
that went, the whole text's where the document went; why it did, null where it stays."""


def cut_text(text: bytes, places: Collection[int]) -> bytes:
    """A text without some of its lines, counted from 0."""
    return b"\n".join(line for place, line in enumerate(text.split(b"\n")) if place not in places)


@dataclass(frozen=True)
class Cutting:
    """What a worker needs to cut one shard."""

    key: str
    folder: str
    """Of its documents."""
    file: str
    """Name of the input file; "" where the documents name theirs."""
    bitmap: str | None
    """Path of the rows that take part; None: all."""
    cuts: str
    """Key of what goes."""
    keepers: Sequence[str]
    """Sources that keep it."""
    min_doc_words: int


def cut_shards(store_url: str, shards: Sequence[Cutting]) -> None:
    """Write several shards anew."""
    store = Store(store_url)
    for shard in shards:
        _cut_shard(store, shard)


def _cut_shard(store: Store, shard: Cutting) -> None:
    cuts = _Cuts(np.load(store.path(f"{STAGE}/{shard.cuts}/{CUTS}")), shard.keepers)
    account = _Account()
    with store.attempt(STAGE, shard.key) as attempt:
        with (
            DocumentRows(attempt.path(DOCUMENTS), tree=not shard.file) as documents,
            Rows(attempt.path(LIST), LIST_SCHEMA) as listed,
        ):
            for row, file, record, id_, text in _documents(store, shard):
                rest, gone = text, cuts.of(row)
                account.take(text)
                if gone is not None:
                    rest = cut_text(text, frozenset(gone.places))
                    why = _why_it_goes(rest, shard.min_doc_words)
                    went = gone.bytes_by_keeper(text)
                    most = min(went, key=lambda name: (-went[name], name))
                    size = len(text) - (len(rest) if why is None else 0)
                    account.lose(why, went if why is None else {most: size})
                    listed.add((file, record, id_, gone.places, most, size, why))
                    if why is not None:
                        continue
                documents.add(() if shard.file else (file,), record, id_, rest)
        documents.save_hashes(attempt.path(HASHES))
        attempt.commit(account=(account.row(),), facts={"lost": account.lost(), "listed": account.listed})


def _documents(store: Store, shard: Cutting) -> Iterator[tuple[int, str, int, str | None, bytes]]:
    """Row, file, record, id and text of each document that takes part."""
    keep = None if shard.bitmap is None else np.load(store.path(shard.bitmap), mmap_mode="r")
    columns = ["record", "id", "text"] if shard.file else ["file", "record", "id", "text"]
    row = 0
    with pq.ParquetFile(store.path(f"{shard.folder}/{DOCUMENTS}")) as file:
        for batch in file.iter_batches(ROW_GROUP_ROWS, columns=columns):
            names = [shard.file] * len(batch) if shard.file else batch["file"].to_pylist()
            texts = batch["text"].view(pa.large_binary())
            for place, (name, record, id_) in enumerate(
                zip(names, batch["record"].to_pylist(), batch["id"].to_pylist(), strict=True)
            ):
                if keep is None or keep[row + place]:
                    yield row + place, name, record, id_, texts[place].as_py()
            row += len(batch)


@dataclass(frozen=True)
class _Gone:
    """The paragraphs that one document loses."""

    places: list[int]
    keepers: list[str]

    def bytes_by_keeper(self, text: bytes) -> Counter[str]:
        """UTF-8 bytes that go, newlines included, by the source that keeps them."""
        sizes: Counter[str] = Counter()
        lines = text.split(b"\n")
        for place, keeper in zip(self.places, self.keepers, strict=True):
            sizes[keeper] += len(lines[place]) + 1
        return sizes


def _why_it_goes(rest: bytes, min_doc_words: int) -> str | None:
    words = len(word_hashes_of_utf8(rest, np.array([0, len(rest)])).values)
    if not words:
        return NOTHING_NEW
    return TOO_SHORT if words < min_doc_words else None


class _Cuts:
    """The cuts of a shard by row."""

    def __init__(self, cuts: NDArray[Any], keepers: Sequence[str]) -> None:
        self._cuts, self._keepers = cuts, keepers
        rows, starts = np.unique(cuts["row"], return_index=True)
        ends = np.append(starts[1:], len(cuts))
        self._spans = dict(zip(rows.tolist(), zip(starts.tolist(), ends.tolist(), strict=True), strict=True))

    def of(self, row: int) -> _Gone | None:
        span = self._spans.get(row)
        if span is None:
            return None
        mine = self._cuts[slice(*span)]
        return _Gone(mine["paragraph"].tolist(), [self._keepers[each] for each in mine["keeper"]])


class _Account:
    """What cutting did to a shard."""

    def __init__(self) -> None:
        self._documents_in = self._bytes_in = self._removed = self.listed = 0
        self._dropped: dict[str, Count] = {}
        self._lost: dict[str, Count] = {}

    def take(self, text: bytes) -> None:
        self._documents_in += 1
        self._bytes_in += len(text)

    def lose(self, why: str | None, went: Mapping[str, int]) -> None:
        """Count bytes that went, by the source that keeps them; of a document that goes for `why`, all of its text."""
        self.listed += 1
        if why is None:
            self._removed += sum(went.values())
        else:
            _add(self._dropped, why, Count(documents=1, bytes=sum(went.values())))
        for keeper, size in went.items():
            _add(self._lost, keeper, Count(documents=int(why is not None), bytes=size))

    def lost(self) -> list[list[object]]:
        """Rows [keeper's source, documents, bytes], sorted."""
        return [[name, count.documents, count.bytes] for name, count in sorted(self._lost.items())]

    def row(self) -> StageRow:
        gone = sum(self._dropped.values(), Count(documents=0, bytes=0))
        return StageRow(
            stage=STAGE,
            documents_in=self._documents_in,
            documents_out=self._documents_in - gone.documents,
            bytes_in=self._bytes_in,
            bytes_out=self._bytes_in - gone.bytes - self._removed,
            bytes_removed=self._removed,
            dropped=dict(sorted(self._dropped.items())),
        )


def _add(counts: dict[str, Count], name: str, count: Count) -> None:
    counts[name] = counts.get(name, Count(documents=0, bytes=0)) + count
