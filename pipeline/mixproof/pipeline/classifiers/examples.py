"""Choose the texts that a classifier is trained on, and account for those that it is not.

Of each source, documents are taken in the order of their text hashes, from the end of the reserved share on. Held-out
sets are chosen from the smallest hashes up, so they come from that share; `check_heldout` makes sure. A text that
overlaps with an evaluation file, a labelled file or an imported held-out set is left out, as decontamination finds
it, and so is a text that is on both sides. The choice depends on texts alone, not on files, shards or workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from mixproof.ledger.account import Count
from mixproof.mixtures.blocks.heldout import Decontaminate
from mixproof.mixtures.blocks.labels import Classifier
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.columns import table_of
from mixproof.pipeline.heldout.overlap import OverlapIndex, find_overlaps
from mixproof.pipeline.heldout.overlap_index import IndexedTexts
from mixproof.pipeline.heldout.questions import QuestionIndex, find_questions
from mixproof.pipeline.read.by_hash import HASH_SPACE, count_between, fetch_texts, in_hash_order
from mixproof.pipeline.read.documents import SourceDocuments
from mixproof.pipeline.read.selection import Selection

from .shares import equal_shares

RESERVED, EVALUATION, BOTH_SIDES, SURPLUS = "heldout", "evaluation", "both_sides", "surplus"
"""Reasons why a document is not trained on; the last: there are as many as requested without it, or it is a copy."""
FETCHED_BYTES = 1 << 26
"""Bytes of text that are in memory at a time, unless a document is longer."""
SCHEMA = pa.schema(
    [
        pa.field("source", pa.string()),
        pa.field("is_positive", pa.bool_()),
        pa.field("text_xxh128", pa.string()),
        pa.field("text_bytes", pa.int64()),
        pa.field("text", pa.large_string()),
    ]
)
"""Of `examples.parquet`, in the order of (hash, source); `text` is the part of the text that is looked at."""


@dataclass(frozen=True)
class Side:
    """Documents of one entry of a side."""

    entry: str
    """The source, or of files their position in the spec, as `positive[0]`."""
    is_positive: bool
    documents: tuple[SourceDocuments, ...]
    """A source, the parts of a split source, or files."""
    keep: tuple[tuple[Bitmap | None, ...], ...]
    inputs_sha256: str | None = None
    """Of files: SHA-256 of the list of their names and contents."""


@dataclass(frozen=True)
class SideAccount:
    """What became of the documents of one entry."""

    side: Side
    total: Count
    trained: Count
    left_out: Mapping[str, Count]


@dataclass(frozen=True)
class Protected:
    """Texts that a classifier must not be trained on; None: there are none."""

    index: OverlapIndex | None
    texts: IndexedTexts | None
    overlap: Fraction
    questions: tuple[QuestionIndex, Fraction] | None = None
    """Evaluation texts by short n-grams, and the share of them that counts."""

    def among(self, texts: Sequence[str]) -> list[bool]:
        """Which of some texts overlap with a protected one, or are one."""
        if self.index is None or self.texts is None or not texts:
            return [False] * len(texts)
        overlaps = set(find_overlaps(self.index, texts, self.overlap))
        if self.questions is not None:
            overlaps |= set(find_questions(self.questions[0], texts, self.questions[1]))
        by_hash = self.texts.by_hash
        return [
            number in overlaps or xxhash.xxh3_128_hexdigest(text.encode()) in by_hash
            for number, text in enumerate(texts)
        ]


def protection_of(spec: Spec) -> Decontaminate:
    """What counts as an overlap: as for training documents, even where the spec does not decontaminate these."""
    return Decontaminate() if spec.decontaminate is False else spec.decontaminate


def choose_examples(
    selection: Selection, classifier: Classifier, sides: Sequence[Side], protected: Protected
) -> tuple[pa.Table, list[SideAccount]]:
    """Choose the texts of both sides.

    Returns:
        A table of SCHEMA, and the account of every entry.
    """
    first = reserved_hashes(classifier.reserve)
    candidates = {side.entry: _candidates(selection, side, classifier.documents, first) for side in sides}
    found: dict[str, _Found] = {}
    for is_positive in (True, False):
        entries = [side for side in sides if side.is_positive == is_positive]
        most = equal_shares([sum(map(len, candidates[side.entry])) for side in entries], classifier.documents)
        for side, number in zip(entries, most, strict=True):
            found[side.entry] = _texts(selection, side, candidates[side.entry], number, classifier.chars, protected)
    positive, negative = (
        {row.hash for side in sides if side.is_positive == wanted for row in found[side.entry].rows}
        for wanted in (True, False)
    )
    chosen: dict[str, _Row] = {}
    accounts = []
    for side in sides:
        own = found[side.entry]
        both = [row for row in own.rows if row.hash in positive & negative]
        single = [row for row in own.rows if row.hash not in positive & negative and row.hash not in chosen]
        chosen |= {row.hash: row for row in single}
        accounts.append(_account(selection, side, first, _count(single), own.protected, _count(both)))
    ordered = sorted(chosen.values(), key=lambda row: row.hash)
    return table_of(ordered, SCHEMA), accounts


class _Row(NamedTuple):
    """A row of SCHEMA."""

    entry: str
    is_positive: bool
    hash: str
    bytes: int
    text: str


@dataclass(frozen=True)
class _Found:
    """The rows of an entry, and what was left out because it overlaps with a protected text."""

    rows: list[_Row]
    protected: Count


def reserved_hashes(share: Fraction) -> int:
    """The first upper half of a text hash above the reserved share of hashes."""
    return int(share * HASH_SPACE)


def _candidates(selection: Selection, side: Side, most: int, first: int) -> list[NDArray[Any]]:
    """Of each source of an entry the documents that may be needed, in hash order."""
    found = []
    for source, keep in zip(side.documents, side.keep, strict=True):
        total = sum(shard.documents for shard in source.shards)
        parts: list[NDArray[Any]] = []
        number = 0
        expected = min(Fraction(1), Fraction(most, max(1, total)))
        for part in in_hash_order(
            source, keep, selection.store, selection.cluster, expected=expected, label="classifiers", first=first
        ):
            parts.append(part[: most - number])
            number += len(parts[-1])
            if number == most:
                break
        found.append(np.concatenate(parts))
    return found


def _texts(
    selection: Selection,
    side: Side,
    candidates: Sequence[NDArray[Any]],
    number: int,
    chars: int,
    protected: Protected,
) -> _Found:
    """The rows of the first documents of an entry, in hash order over all its sources, without protected texts."""
    hashes = np.concatenate([part[["high", "low"]] for part in candidates])
    owner = np.repeat(np.arange(len(candidates)), [len(part) for part in candidates])
    place = np.concatenate([np.arange(len(part)) for part in candidates])
    order = np.lexsort((owner, hashes["low"], hashes["high"]))[:number]
    rows: list[_Row] = []
    lost: list[_Row] = []
    for index, source in enumerate(side.documents):
        own = candidates[index][np.sort(place[order][owner[order] == index])]
        blocks = np.cumsum(own["bytes"]) // FETCHED_BYTES
        for part in np.split(own, np.flatnonzero(np.diff(blocks)) + 1):
            fetched = fetch_texts(source.shards, part, selection.store, selection.cluster, label="classifiers")
            texts: list[str] = fetched["text"].to_pylist()
            for text, is_protected in zip(texts, protected.among(texts), strict=True):
                data = text.encode()
                row = _Row(side.entry, side.is_positive, xxhash.xxh3_128_hexdigest(data), len(data), text[:chars])
                (lost if is_protected else rows).append(row)
    return _Found(rows, _count(lost))


def _count(rows: Sequence[_Row]) -> Count:
    return Count(documents=len(rows), bytes=sum(row.bytes for row in rows))


def _account(
    selection: Selection, side: Side, first: int, trained: Count, evaluation: Count, both: Count
) -> SideAccount:
    reserved = rest = Count(documents=0, bytes=0)
    for source, keep in zip(side.documents, side.keep, strict=True):
        where = (source, keep, selection.store, selection.cluster)
        reserved += count_between(*where, 0, first, label="classifiers")
        rest += count_between(*where, first, HASH_SPACE, label="classifiers")
    known = trained + evaluation + both
    surplus = Count(documents=rest.documents - known.documents, bytes=rest.bytes - known.bytes)
    left_out = {RESERVED: reserved, EVALUATION: evaluation, BOTH_SIDES: both, SURPLUS: surplus}
    stated = {reason: count for reason, count in left_out.items() if count.documents}
    return SideAccount(side, reserved + rest, trained, stated)
