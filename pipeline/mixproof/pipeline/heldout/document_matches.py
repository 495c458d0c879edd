"""The documents of a shard that overlap with protected texts, with the reason and all their matches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.columns import array_of
from mixproof.pipeline.read.shards import DOCUMENTS
from mixproof.pipeline.read.texts import batches_of, utf8_of
from mixproof.pipeline.words.ngrams import Ragged, one_row
from mixproof.pipeline.words.words import LONG_BYTES, long_word_hashes, word_hashes

from .heldout_set import PROMPT_HASH
from .match_lists import match_rows
from .overlap import Match, OverlapIndex, find_overlaps_of
from .overlap_index import IndexedTexts
from .questions import QuestionIndex, find_questions_of

HELDOUT_OVERLAP = "heldout_overlap"
HELDOUT_PROMPT = "heldout_prompt"
EVALUATION_OVERLAP = "evaluation_overlap"
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
class Batch:
    """Consecutive rows of a shard. No string is made of a whole long text unless its document is dropped."""

    first: int
    """Index in the shard of the first row."""
    columns: dict[str, list[Any]]
    """All but the texts."""
    data: pa.Buffer
    """The texts, UTF-8."""
    bounds: NDArray[np.int64]
    """int64 [rows + 1]: the text of row i is `data[bounds[i]:bounds[i + 1]]`."""

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def row(self, number: int) -> dict[str, Any]:
        """The columns of one row, with its text."""
        row = {name: column[number] for name, column in self.columns.items()}
        return {**row, "text": self._text(number).decode()}

    def words(self, rows: NDArray[np.int64]) -> Ragged:
        """The words of the texts of some rows."""
        texts = [self._text(row) for row in rows.tolist()]
        if len(texts) == 1 and len(texts[0]) > LONG_BYTES:
            return one_row(long_word_hashes(texts[0]))
        return word_hashes([text.decode() for text in texts])

    def _text(self, row: int) -> bytes:
        start, end = int(self.bounds[row]), int(self.bounds[row + 1])
        text: bytes = self.data.slice(start, end - start).to_pybytes()
        return text

    @property
    def sizes(self) -> NDArray[np.int64]:
        """UTF-8 bytes of each text: int64 [rows]."""
        return np.array(self.columns["text_bytes"], dtype=np.int64)


def read_batches(store: Store, folder: str) -> Iterator[Batch]:
    """Yield the rows of a shard, about BATCH_BYTES of text at a time."""
    row = 0
    with pq.ParquetFile(store.path(f"{folder}/{DOCUMENTS}")) as file:
        for part in batches_of(file):
            sizes = array_of(part["text_bytes"])
            blocks = np.cumsum(sizes) // BATCH_BYTES
            changes = np.flatnonzero(np.diff(blocks) | (sizes[:-1] > LONG_BYTES))  # a long text is on its own
            bounds = [0, *(changes + 1).tolist(), len(blocks)]
            others = part.drop_columns(["text"])
            data, text_bounds = utf8_of(part["text"])
            for first, last in pairwise(bounds):
                columns = others.slice(first, last - first).to_pydict()
                yield Batch(row + first, columns, data, text_bounds[first : last + 1])
            row += len(blocks)


@dataclass(frozen=True)
class Dropped:
    """A document that overlaps with a protected text."""

    row: int
    """In its batch."""
    dropped: dict[str, Any]
    """Its row of DROPPED_SCHEMA."""
    matches: list[tuple[Any, ...]]
    """Its rows of `match_lists.MATCHES_SCHEMA`."""


@dataclass(frozen=True)
class Search:
    """What documents are compared with."""

    index: OverlapIndex
    texts: IndexedTexts
    overlap: Fraction
    questions: tuple[QuestionIndex, IndexedTexts, Fraction] | None = None
    """Evaluation texts by short n-grams, and the share of them that counts; None: they are not searched."""

    def documents(self, batch: Batch, candidates: NDArray[np.int64]) -> Iterator[Dropped]:
        """Yield the documents to drop among the rows `candidates` of a batch, in order."""
        words = batch.words(candidates)
        found = self._overlaps(batch, candidates, words)
        asked: dict[int, list[Match]] = {}
        if self.questions is not None:
            index, texts, overlap = self.questions
            every = find_questions_of(index, words, overlap)
            asked = {int(candidates[number]): matches for number, matches in every.items()}
        for row in sorted({*found, *asked}):
            matches, reason = found.get(row, ([], EVALUATION_OVERLAP))
            listed = match_rows(batch.row(row), matches, self.index, self.texts)
            if row in asked and self.questions is not None:
                known = {self.texts.place(match.text) for match in matches}
                more = [match for match in asked[row] if texts.place(match.text) not in known]
                listed += match_rows(batch.row(row), more, index.overlap, texts)
            best = (matches[0], self.texts) if matches else (asked[row][0], texts)
            yield Dropped(row, _dropped_row(batch, row, *best, reason), listed)

    def _overlaps(
        self, batch: Batch, candidates: NDArray[np.int64], words: Ragged
    ) -> dict[int, tuple[list[Match], str]]:
        """The documents that overlap, each with its matches, the best first, and the reason."""
        overlaps = find_overlaps_of(self.index, words, self.overlap)
        matches = {int(candidates[number]): every for number, every in overlaps.items()}
        for row in candidates.tolist():
            same = self.texts.by_hash.get(batch.columns["text_xxh128"][row].hex())
            if same is not None and row not in matches:  # the same text, which has no words
                matches[row] = [Match(same, 0, 0, 0)]
        found = {
            row: (every, HELDOUT_OVERLAP if every[0].text < self.index.protected else EVALUATION_OVERLAP)
            for row, every in matches.items()
        }
        for row in candidates.tolist() if self.texts.by_prompt and PROMPT_HASH in batch.columns else ():
            held_out = self.texts.by_prompt.get(batch.columns[PROMPT_HASH][row].hex())
            if held_out is not None:
                found[row] = ([Match(held_out, 0, 0, 0)], HELDOUT_PROMPT)
        return found


def _dropped_row(batch: Batch, number: int, match: Match, texts: IndexedTexts, reason: str) -> dict[str, Any]:
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
