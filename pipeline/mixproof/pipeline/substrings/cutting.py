"""Cutting: rewrite a shard's documents without the stretches that repeat earlier texts, with account and list.

A stretch is cut only if xxh3_128 of its bytes is that of the bytes it repeats, as for whole documents that are equal.
The rest of a text stays byte for byte, and joins where something was cut. A document without any words left is dropped
as `no_new_text`, one with fewer than the required words as `too_short`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.columns import read_whole
from mixproof.pipeline.cuts.account import CutAccount, reason_to_drop
from mixproof.pipeline.cuts.documents import participating_documents
from mixproof.pipeline.cuts.lists import LIST, ListKind
from mixproof.pipeline.dedup.duplicates import NO_KEEPER, TWIN_DTYPE, DuplicateList, Twins
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.read.shard_output import DocumentRows, Rows
from mixproof.pipeline.read.shards import DOCUMENTS, HASHES, Shard

from .anchor_tables import STAGE, VERSION
from .cut_ranges import bytes_of_each, ranges_to_cut, without
from .kept import Kept, kept_texts
from .matches import MATCHES

log = logging.getLogger(__name__)

NOTHING_NEW = "no_new_text"
TWINS = "dropped.npy"
"""TWIN_DTYPE: the dropped documents, and the document that keeps most of each."""
TEXTS, NUMBERS = pa.list_(pa.string()), pa.list_(pa.int64())

LIST_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("record", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("starts", NUMBERS),
        pa.field("lengths", NUMBERS),
        pa.field("kept_sources", TEXTS),
        pa.field("kept_files", TEXTS),
        pa.field("kept_records", NUMBERS),
        pa.field("kept_starts", NUMBERS),
        pa.field("xxh128", TEXTS),
        pa.field("lost_to", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("dropped", pa.string()),
    ]
)
"""A document that lost text. For each match: its first byte and length, where the same bytes occur first (source, file,
record, first byte) and xxh3_128 of them. Then the source that keeps most of what it lost; the UTF-8 bytes that were
removed, or those of the whole text if it was dropped; and the reason for that, else null."""

LISTS = ListKind(STAGE, VERSION, "lists of substrings", LIST_SCHEMA)


@dataclass(frozen=True)
class ShardCut:
    """What a task needs to cut one shard."""

    key: str
    index: int
    """Index of the shard in its group."""
    folder: str
    """Folder of its documents."""
    file: str
    """Name of the input file; "" where the documents name theirs."""
    bitmap: str | None
    """Path of the bitmap of participating rows; None: all."""
    matches: str
    """Key of its matches."""
    keepers: Mapping[int, Shard]
    """The shards that the matches repeat from, by index in the group."""
    min_doc_words: int


@dataclass(frozen=True)
class _Match:
    """A stretch of one document and where it repeats from."""

    start: int
    length: int
    keeper: tuple[int, int]
    """Index of the shard in the group, row there."""
    source: str
    kept_start: int
    kept: Kept


def cut_shards(store: Store, shards: Sequence[ShardCut]) -> None:
    """Rewrite several shards."""
    for shard in shards:
        _cut_shard(store, shard)


def _cut_shard(store: Store, shard: ShardCut) -> None:
    matches = load_array(store.path(f"{STAGE}/{shard.matches}/{MATCHES}"))
    of_row = _by_row(matches, kept_texts(store, shard.keepers, matches), shard.keepers)
    account, dropped = CutAccount(STAGE), []
    with store.attempt(STAGE, shard.key) as attempt:
        with (
            DocumentRows(attempt.path(DOCUMENTS), grouped=not shard.file) as documents,
            Rows(attempt.path(LIST), LIST_SCHEMA) as listed,
        ):
            for row, file, record, id_, text in participating_documents(store, shard.folder, shard.file, shard.bitmap):
                account.take(text)
                cut = _Cut.of(text, of_row.get(row, ()), shard.min_doc_words)
                if cut is not None:
                    account.lose(cut.reason, cut.lost())
                    listed.add((file, record, id_, *cut.columns()))
                    if cut.reason is not None:
                        dropped.append((row, *cut.keeper_besides((shard.index, row))))
                        continue
                documents.add(() if shard.file else (file,), record, id_, text if cut is None else cut.left)
        documents.save_hashes(attempt.path(HASHES))
        with attempt.path(TWINS).open("wb") as out:
            np.save(out, np.array(dropped, dtype=TWIN_DTYPE), allow_pickle=False)
        attempt.commit(account=(account.row(),), facts={"lost": account.lost(), "listed": account.listed})
    log.debug("%s: cut %s, %d documents changed", STAGE, shard.file or shard.folder, account.listed)


def _by_row(matches: NDArray[Any], kept: Sequence[Kept], shards: Mapping[int, Shard]) -> dict[int, list[_Match]]:
    found: dict[int, list[_Match]] = {}
    for (row, start, length, shard, kept_row, kept_start), where in zip(matches.tolist(), kept, strict=True):
        match = _Match(start, length, (shard, kept_row), shards[shard].source, kept_start, where)
        found.setdefault(row, []).append(match)
    return found


@dataclass(frozen=True)
class _Cut:
    """What one document loses."""

    text: bytes
    left: bytes
    reason: str | None
    """Why it is dropped; None: it is not."""
    matches: Sequence[_Match]
    sizes: Sequence[int]
    """Bytes cut for each match."""

    @classmethod
    def of(cls, text: bytes, found: Sequence[_Match], min_doc_words: int) -> _Cut | None:
        """Cut a text; None if nothing goes. Matches with other bytes, whose hashes collided, do not count."""
        matches = [
            match
            for match in found
            if xxhash.xxh3_128_hexdigest(text[match.start : match.start + match.length]) == match.kept.xxh128
        ]
        spans = [(match.start, match.length) for match in matches]
        ranges = ranges_to_cut(text, spans)
        if not ranges:
            return None
        left = without(text, ranges)
        reason = reason_to_drop(left, min_doc_words, NOTHING_NEW)
        return cls(text, left, reason, matches, bytes_of_each(spans, ranges))

    @property
    def bytes(self) -> int:
        """Bytes that are lost: of a dropped document all."""
        return len(self.text) - (0 if self.reason is not None else len(self.left))

    def _by_source(self) -> Counter[str]:
        sizes: Counter[str] = Counter()
        for match, size in zip(self.matches, self.sizes, strict=True):
            sizes[match.source] += size
        return sizes

    @property
    def lost_to(self) -> str:
        """The source that keeps most of the bytes."""
        sizes = self._by_source()
        return min(sizes, key=lambda name: (-sizes[name], name))

    def lost(self) -> Mapping[str, int]:
        """Lost bytes by the source that keeps them; a dropped document is lost to one source."""
        return self._by_source() if self.reason is None else {self.lost_to: self.bytes}

    def keeper_besides(self, own: tuple[int, int]) -> tuple[int, int]:
        """Shard and row of the document that keeps most, one of `lost_to` if possible; none if that is `own`."""
        sizes: Counter[tuple[int, int]] = Counter()
        sources = {}
        for match, size in zip(self.matches, self.sizes, strict=True):
            if match.keeper != own:
                sizes[match.keeper] += size
                sources[match.keeper] = match.source
        order = [(sources[keeper] != self.lost_to, -size, *keeper) for keeper, size in sizes.items()]
        return min(order)[2:] if order else (NO_KEEPER, 0)

    def columns(self) -> tuple[object, ...]:
        """The columns of the list from `starts` on."""
        of_matches = (
            (m.start, m.length, m.source, m.kept.file, m.kept.record, m.kept_start, m.kept.xxh128) for m in self.matches
        )
        return (*map(list, zip(*of_matches, strict=True)), self.lost_to, self.bytes, self.reason)


def substring_twins(store: Store, each: DuplicateList) -> Twins:
    """Read the documents that cutting dropped from a shard."""
    twins = load_array(store.path(each.paths[0]))
    reasons = [reason for reason in read_whole(store.path(each.paths[1]), ["dropped"])["dropped"].to_pylist() if reason]
    return Twins(twins, reasons)


def twin_paths(key: str) -> tuple[str, str]:
    """The files that name the documents which cutting dropped from a shard, as `substring_twins` reads them."""
    return f"{STAGE}/{key}/{TWINS}", f"{STAGE}/{key}/{LIST}"
