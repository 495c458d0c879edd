"""Load a source's held-out set for evaluation: ids and provenance of its parts, in memory.

Held-out sets are small (1M tokens by default), so a set is loaded whole. Its files are checked against the manifest's
checksums and its counts against the manifest's counts first, so that the declared documents are what is scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from mixproof.ledger.content import content_sha256
from mixproof.ledger.errors import AccountError, DamagedFileError
from mixproof.ledger.manifest import DatasetRecord, SplitRecord
from mixproof.ledger.store import Store
from mixproof.tokenize.dataset.indexed import read_index

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

    @property
    def tokens(self) -> NDArray[np.int64]:
        """[documents] number of tokens, EOD included."""
        return np.diff(self.starts)


def read_heldout(store: Store, source: str, heldout: SplitRecord, eod_id: int) -> HeldoutDocuments:
    """Load a source's held-out set.

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
    return documents


def is_lossless(documents: HeldoutDocuments, decode: Decode) -> bool:
    """Whether decoding every document's ids restores its text byte for byte."""
    ids, starts = documents.ids, documents.starts.tolist()
    for first in range(0, len(documents.file), DECODED_DOCUMENTS):
        hashes = documents.text_xxh128[first : first + DECODED_DOCUMENTS]
        indices = range(first, first + len(hashes))
        texts = decode([ids[starts[index] : starts[index + 1] - 1].tolist() for index in indices])
        if [xxhash.xxh3_128_hexdigest(text.encode()) for text in texts] != hashes:
            return False
    return True


_COLUMNS = ("file", "record", "text_xxh128", "text_bytes", "tokens")


def _read_part(store: Store, part: DatasetRecord) -> tuple[NDArray[np.int32], NDArray[np.int64], pa.Table]:
    """Ids, document lengths and provenance rows of one part."""
    names = (f"{part.prefix}.bin", f"{part.prefix}.idx", part.provenance)
    for name, expected in zip(names, (part.bin_sha256, part.idx_sha256, part.provenance_sha256), strict=True):
        path = store.path(name)
        found = content_sha256(path) if path.is_file() else "missing"
        if found != expected:
            reason = f"SHA-256 is {found}, the manifest says {expected}; delete its folder and build again"
            raise DamagedFileError(name, "whole file", reason)
    index = read_index(store.path(names[1]))
    ids = np.fromfile(store.path(names[0]), index.dtype).astype(np.int32)
    rows = pq.read_table(store.path(part.provenance), columns=list(_COLUMNS))
    return ids, index.lengths.astype(np.int64), rows
