"""Load a source's held-out set for evaluation: ids and provenance of its parts, in memory.

Held-out sets are small (1M tokens by default), so a set is loaded whole. Its files are checked against the manifest's
checksums and its counts against the manifest's counts first, so that the declared documents are what is scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from mixproof.ledger.content import content_sha256
from mixproof.ledger.errors import AccountError, DamagedFileError
from mixproof.ledger.records.datasets import DatasetRecord, SplitRecord
from mixproof.ledger.store import Store
from mixproof.tokenize.dataset.indexed import read_index
from mixproof.train.request import checksums_of

DECODED_DOCUMENTS = 256
"""Documents decoded per call."""

Decode = Callable[[list[list[int]]], Sequence[str]]
"""Decodes lists of ids, without EODs, to texts; SentencePiece's `decode`, for example."""


@dataclass(frozen=True)
class HeldoutDocuments:
    """A source's held-out documents, in order."""

    source: str
    ids: NDArray[np.int32]
    """[tokens] all documents concatenated, each followed by an EOD."""
    starts: NDArray[np.int64]
    """[documents + 1] offset of each document in `ids`, and the end."""
    file: list[str]
    record: NDArray[np.int64]
    text_bytes: NDArray[np.int64]
    """[documents] UTF-8 bytes of each text, before the tokenizer's normalizer."""
    text_xxh128: list[str]
    mask: NDArray[np.uint8] | None = None
    """[tokens] 1 if a token is supervised; None: every token is scored."""
    answer_bytes: NDArray[np.int64] | None = None
    """[documents] UTF-8 bytes of the supervised text; None without a mask."""
    prompts: list[str] | None = None
    """[documents] XXH3-128 of each prompt; None without a mask."""
    ratings: pa.Table | None = None
    """[documents] the columns `margin` and `attribute.NAME` of the provenance, those that it has."""

    @property
    def margins(self) -> NDArray[np.float64]:
        """[documents] margin of each pair, on both answers; 0 where there is none."""
        has = self.ratings is not None and "margin" in self.ratings.column_names
        if self.ratings is None or not has:
            return np.zeros(len(self.file), np.float64)
        margins: NDArray[np.float64] = pc.fill_null(self.ratings["margin"], 0.0).to_numpy()
        return margins

    def attributes(self, names: Sequence[str]) -> NDArray[np.float64]:
        """[documents, names] ratings; NaN where absent."""
        table, absent = self.ratings, np.full(len(self.file), np.nan)
        columns = [
            absent
            if table is None or f"attribute.{name}" not in table.column_names
            else pc.fill_null(pc.cast(table[f"attribute.{name}"], pa.float64()), np.nan).to_numpy()
            for name in names
        ]
        return np.stack(columns, axis=1)

    def select(self, chosen: NDArray[np.int64]) -> HeldoutDocuments:
        """Return some of the documents, in the order of `chosen`."""
        spans = [slice(int(self.starts[one]), int(self.starts[one + 1])) for one in chosen]
        return replace(
            self,
            ids=np.concatenate([self.ids[span] for span in spans]),
            starts=np.concatenate([[0], np.cumsum(self.tokens[chosen])]),
            file=[self.file[one] for one in chosen],
            record=self.record[chosen],
            text_bytes=self.text_bytes[chosen],
            text_xxh128=[self.text_xxh128[one] for one in chosen],
            mask=None if self.mask is None else np.concatenate([self.mask[span] for span in spans]),
            answer_bytes=None if self.answer_bytes is None else self.answer_bytes[chosen],
            prompts=None if self.prompts is None else [self.prompts[one] for one in chosen],
            ratings=None if self.ratings is None else self.ratings.take(pa.array(chosen)),
        )

    @property
    def tokens(self) -> NDArray[np.int64]:
        """[documents] number of tokens, EOD included."""
        return np.diff(self.starts)

    @property
    def targets(self) -> NDArray[np.int64]:
        """[documents] number of tokens that are scored."""
        return self.tokens if self.mask is None else np.add.reduceat(self.mask, self.starts[:-1], dtype=np.int64)


def read_heldout(
    store: Store, source: str, heldout: SplitRecord, eod_id: int, *, supervised_by: Decode | None = None
) -> HeldoutDocuments:
    """Load a source's held-out set.

    Args:
        store: of the build.
        source: its name.
        heldout: the manifest's record of the set.
        eod_id: the id that ends every document.
        supervised_by: if only supervised tokens are scored, the decoder that counts the bytes of their text.

    Raises:
        DamagedFileError: when a file is missing or does not match the manifest's checksum.
        AccountError: when documents, tokens or bytes differ from the manifest (E10), or a document does not end
            with an EOD (E5).
    """
    read = [_read_part(store, part) for part in heldout.datasets]
    lengths = np.concatenate([np.zeros(0, np.int64), *(part[1] for part in read)])
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    tables = [part[2] for part in read]
    rows = pa.concat_tables(tables) if tables else pa.table({name: [] for name in _COLUMNS})
    documents = HeldoutDocuments(
        source=source,
        ids=np.concatenate([np.zeros(0, np.int32), *(part[0] for part in read)]),
        starts=starts,
        file=rows["file"].to_pylist(),
        record=rows["record"].to_numpy().astype(np.int64),
        text_bytes=rows["text_bytes"].to_numpy().astype(np.int64),
        text_xxh128=rows["text_xxh128"].to_pylist(),
    )
    found = (rows.num_rows, int(starts[-1]), int(documents.text_bytes.sum()))
    expected = (heldout.documents, heldout.tokens, heldout.bytes)
    if found != expected or not np.array_equal(rows["tokens"].to_numpy(), lengths):
        form = "{} documents, {} tokens, {} bytes"
        raise AccountError("E10", form.format(*expected), form.format(*found), source=source, stage="evaluate")
    eods = int((documents.ids[starts[1:] - 1] == eod_id).sum())
    if eods != len(lengths):
        raise AccountError("E5", f"{len(lengths)} documents that end with EOD", eods, source=source, stage="evaluate")
    if supervised_by is None or any(part.mask_sha256 is None for part in heldout.datasets):
        return documents
    mask = np.concatenate([np.fromfile(store.path(f"{part.prefix}.mask"), np.uint8) for part in heldout.datasets])
    found_tokens = int(mask.sum(dtype=np.int64))
    if len(mask) != len(documents.ids) or found_tokens != heldout.supervised_tokens:
        expected_mask = f"{len(documents.ids)} tokens, {heldout.supervised_tokens} supervised"
        found_mask = f"{len(mask)} tokens, {found_tokens} supervised in the mask"
        raise AccountError("E10", expected_mask, found_mask, source=source, stage="evaluate")
    rated = [name for name in rows.column_names if name == "margin" or name.startswith("attribute.")]
    ratings = rows.select(rated) if rated else None
    masked = replace(documents, mask=mask, prompts=rows["prompt_xxh128"].to_pylist(), ratings=ratings)
    return replace(masked, answer_bytes=_answer_bytes(masked, supervised_by))


def _answer_bytes(documents: HeldoutDocuments, decode: Decode) -> NDArray[np.int64]:
    """Return [documents] the UTF-8 bytes that the supervised tokens decode to, without EODs.

    A run of tokens is decoded together with all tokens before it, because a tokenizer may treat the start of a text
    differently.
    """
    assert documents.mask is not None, "the caller read it"
    prefixes: list[list[int]] = []
    signs: list[tuple[int, int]] = []
    for number, (first, last) in enumerate(pairwise(documents.starts.tolist())):
        edges = np.diff(documents.mask[first : last - 1].astype(np.int8), prepend=0, append=0)
        for at in np.flatnonzero(edges).tolist():
            prefixes.append(documents.ids[first : first + at].tolist())
            signs.append((number, -int(edges[at])))
    total = np.zeros(len(documents.file), np.int64)
    for begin in range(0, len(prefixes), DECODED_DOCUMENTS):
        texts = decode(prefixes[begin : begin + DECODED_DOCUMENTS])
        for (number, sign), text in zip(signs[begin : begin + DECODED_DOCUMENTS], texts, strict=True):
            total[number] += sign * len(text.encode())
    return total


def is_lossless(documents: HeldoutDocuments, decode: Decode, *, before: int = 0) -> bool:
    """Whether decoding every document's ids restores its text byte for byte; `before` tokens are not of the text."""
    ids, starts = documents.ids, documents.starts.tolist()
    for first in range(0, len(documents.file), DECODED_DOCUMENTS):
        hashes = documents.text_xxh128[first : first + DECODED_DOCUMENTS]
        indices = range(first, first + len(hashes))
        texts = decode([ids[starts[index] + before : starts[index + 1] - 1].tolist() for index in indices])
        if [xxhash.xxh3_128_hexdigest(text.encode()) for text in texts] != hashes:
            return False
    return True


_COLUMNS = ("file", "record", "text_xxh128", "text_bytes", "tokens")


def _read_part(store: Store, part: DatasetRecord) -> tuple[NDArray[np.int32], NDArray[np.int64], pa.Table]:
    """Ids, document lengths and provenance rows of one part."""
    names = (f"{part.prefix}.bin", f"{part.prefix}.idx", part.provenance, f"{part.prefix}.mask")
    for name, expected in zip(names, checksums_of(part), strict=False):
        path = store.path(name)
        found = content_sha256(path) if path.is_file() else "missing"
        if found != expected:
            reason = f"SHA-256 is {found}, the manifest says {expected}; delete its folder and build again"
            raise DamagedFileError(name, "whole file", reason)
    index = read_index(store.path(names[1]))
    ids = np.fromfile(store.path(names[0]), index.dtype).astype(np.int32)
    rows = pq.read_table(store.path(part.provenance), columns=list(_COLUMNS) if part.mask_sha256 is None else None)
    return ids, index.lengths.astype(np.int64), rows
