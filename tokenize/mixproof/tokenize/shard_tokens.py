"""The input and output of encoding one shard: which texts to encode, and where the tokens are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.account import StageRow
from mixproof.ledger.records.source import SourceKind
from mixproof.ledger.store import Store
from mixproof.pipeline.bitmap import Bitmap, read_bitmap
from mixproof.pipeline.columns import array_of, flags
from mixproof.pipeline.read.documents import SourceDocuments
from mixproof.pipeline.read.shards import DOCUMENTS

STAGE = "tokens"
"""The stage's folder in the store: the tokens of single shards."""
LEDGER_STAGE = "encode"
"""The stage's name in the ledger, in errors and in circumstances."""
TOKENS = "tokens.bin"
MASK = "tokens.mask"
"""Of conversations: a uint8 per token, 1 where it is supervised."""
PROVENANCE = "provenance.parquet"
BATCH_BYTES = 4_000_000
"""UTF-8 bytes per batch of texts; a longer text is a batch of its own."""


@dataclass(frozen=True)
class Texts:
    """A Parquet file of texts, and which of its rows to encode."""

    path: str
    """Relative to the store. Columns `record`, `id`, `text`, `text_xxh128`, `text_bytes`, and perhaps `file`."""
    sha256: str
    keep: Bitmap | None
    """Which rows to encode; None: all."""
    file: str
    """Name of the input file of all rows; "" if the column `file` names it."""
    first_record: int
    """Added to `record` to get the index in that file."""
    source: str
    text_bytes: int = 0
    """UTF-8 bytes of all rows, for progress; 0 if it is not known."""
    kind: SourceKind | None = None
    """What the texts are if they are rendered conversations, with the columns `marks` and `prompt_xxh128`."""
    attributes: tuple[str, ...] = ()
    """Names of the attributes of all answers of a `ratings` source, sorted."""


def texts_of(source: SourceDocuments, keep: Sequence[Bitmap | None]) -> list[Texts]:
    """The texts of a source, one file per shard; `keep` has one bitmap per shard."""
    return [
        Texts(
            path=f"{shard.folder}/{DOCUMENTS}",
            sha256=shard.documents_sha256,
            keep=bitmap,
            file=shard.file,
            first_record=shard.first_record,
            source=source.name,
            text_bytes=shard.text_bytes,
            kind=source.kind,
            attributes=source.attributes,
        )
        for shard, bitmap in zip(source.shards, keep, strict=True)
    ]


@dataclass(frozen=True)
class EncodedShard:
    """The encoded tokens of one shard."""

    texts: Texts
    output: str
    """`tokens/<key>`."""
    folder: str
    """The folder of its files, relative to the store; it may be in a pack (`Store.open`)."""
    documents: int
    """Documents of the dataset; a pair of answers is two."""
    tokens: int
    """EODs included."""
    row: StageRow
    engine: str
    rechecked: int
    """Number of documents that the reference encoded too, with equal ids."""
    supervised_tokens: int | None = None
    """Of conversations; None for plain documents."""


def read_kept(store: Store, texts: Texts, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The kept rows of a Parquet file of texts, in batches of about `BATCH_BYTES`, with all columns or only `columns`.

    Raises:
        DamagedFileError: when the bitmap does not belong to the texts.
    """
    with pq.ParquetFile(store.path(texts.path)) as file:
        keep = read_bitmap(store, texts.keep, file.metadata.num_rows)
        first = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            kept = keep[first : first + rows]
            first += rows
            if kept.any():
                yield from _batches(file.read_row_group(group, columns).filter(flags(kept)))


def _batches(rows: pa.Table) -> Iterator[pa.Table]:
    ends = np.cumsum(array_of(rows["text_bytes"]))
    start = 0
    while start < rows.num_rows:
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + BATCH_BYTES, side="right")))
        yield rows.slice(start, stop - start)
        start = stop
