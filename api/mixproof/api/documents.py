"""Documents of a build, one after another: ids with texts.

The store keeps tokens and provenance, and the texts of held-out sets. A training text is decoded from its tokens, and
`is_original` says whether it has the hash of the text that was tokenized; a tokenizer that normalizes gives another.
Nothing is read before the first document is taken, and at most `BATCH` documents are held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.datasets import DatasetRecord, SplitRecord
from mixproof.ledger.store import Store
from mixproof.tokenize.dataset.indexed import read_index
from mixproof.tokenize.tokenizer.reference import load_reference

from .rows import Rows

BATCH = 256
"""Documents that are decoded at a time."""
COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("file", pa.string()),
        ("record", pa.int64()),
        ("tokens", pa.int64()),
        ("text_bytes", pa.int64()),
        ("text_xxh128", pa.string()),
        ("is_original", pa.bool_()),
    ]
)
PROVENANCE = ["id", "file", "record", "tokens", "text_bytes", "text_xxh128"]


@dataclass(frozen=True)
class Document:
    """One document of a dataset."""

    id: str
    """Its record's id, or `<file>#<record>` where the record has none."""
    text: str
    file: str
    """Input file, relative to the fixed part of its source's pattern."""
    record: int
    """Number of the record in its file, from 0."""
    tokens: int
    """EOD included."""
    text_bytes: int
    """UTF-8 bytes of the text that was tokenized."""
    text_xxh128: str
    """XXH3-128 of that text."""
    is_original: bool
    """Whether `text` is that text; False where it was decoded from tokens that do not give it back."""


class Documents:
    """The documents of one side of a source, in the order of the dataset; can be iterated several times."""

    def __init__(self, store: Store, manifest: Manifest, source: str, split: str) -> None:
        """Name the documents; nothing is read yet.

        Raises:
            RequestError: when the build has no such source, or there is no such side.
        """
        if source not in manifest.sources:
            raise RequestError(f"source {source!r}: the build has {', '.join(sorted(manifest.sources))}")
        if split not in ("train", "heldout"):
            raise RequestError(f"split {split!r}: give 'train' or 'heldout'")
        record = manifest.sources[source]
        self._side: SplitRecord = record.train if split == "train" else record.heldout
        self._texts = None if split == "train" else record.heldout.texts
        self._store, self._tokenizer = store, manifest.tokenizer

    def __len__(self) -> int:
        return self._side.documents

    def __iter__(self) -> Iterator[Document]:
        texts = self._heldout_texts()
        for part in self._side.datasets:
            yield from self._part(part, texts)

    def head(self, number: int) -> Rows[Document]:
        """The first documents, as rows."""
        return Rows((document for document, _ in zip(self, range(number), strict=False)), COLUMNS, asdict)

    def _part(self, part: DatasetRecord, texts: dict[str, str]) -> Iterator[Document]:
        prefix = self._store.folder(part.prefix)
        index = read_index(_there(prefix.with_name(f"{prefix.name}.idx")))
        ids = np.memmap(_there(prefix.with_name(f"{prefix.name}.bin")), index.dtype, mode="r")
        before = self._tokenizer.around - 1
        starts, decode = index.starts, load_reference(str(self._store.path(self._tokenizer.path))).decode
        with pq.ParquetFile(_there(self._store.path(part.provenance))) as file:
            first = 0
            for batch in file.iter_batches(BATCH, columns=PROVENANCE):
                rows = batch.to_pylist()
                spans = [slice(starts[first + row] + before, starts[first + row + 1] - 1) for row in range(len(rows))]
                decoded = [] if texts else decode([ids[span].tolist() for span in spans])
                for place, row in enumerate(rows):
                    text = texts[row["text_xxh128"]] if texts else decoded[place]
                    same = bool(texts) or xxhash.xxh3_128_hexdigest(text.encode()) == row["text_xxh128"]
                    yield Document(text=text, is_original=same, **row)
                first += len(rows)

    def _heldout_texts(self) -> dict[str, str]:
        """The texts of a held-out set by their hashes; none for training text."""
        if self._texts is None:
            return {}
        table = pq.read_table(_there(self._store.path(self._texts.path)), columns=["text_xxh128", "text"])
        return dict(zip(table["text_xxh128"].to_pylist(), table["text"].to_pylist(), strict=True))


def _there(path: Path) -> Path:
    """The path, where the store has the file.

    Raises:
        DamagedFileError: where it has not.
    """
    if not path.is_file():
        raise DamagedFileError(str(path), "whole file", "is missing; build the spec again")
    return path
