"""The texts of one shard that are to be encoded, and the tokens encoded from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.account import StageRow
from mixproof.ledger.store import Store
from mixproof.pipeline.bitmap import Bitmap, read_bitmap
from mixproof.pipeline.columns import array_of, flags

STAGE = "tokens"
"""The stage's folder in the store; the ledger calls the stage `encode`."""
TOKENS = "tokens.bin"
PROVENANCE = "provenance.parquet"
BATCH_BYTES = 4_000_000
"""UTF-8 bytes of a batch of texts; a longer text is a batch by itself."""


@dataclass(frozen=True)
class Texts:
    """A Parquet of texts, and which of its rows to encode."""

    path: str
    """Relative to the store. Columns `record`, `id`, `text`, `text_xxh128`, `text_bytes`, and perhaps `file`."""
    sha256: str
    keep: Bitmap | None
    """None: all rows."""
    file: str
    """Name of the input file that all rows are from; "" where the column `file` says."""
    first_record: int
    """What to add to `record` for the place in that file."""
    source: str


@dataclass(frozen=True)
class EncodedShard:
    """The finished tokens of one shard."""

    texts: Texts
    folder: str
    """`tokens/<key>`, relative to the store."""
    documents: int
    tokens: int
    """EODs included."""
    row: StageRow
    engine: str
    rechecked: int
    """Documents that the reference encoded as well, with equal ids."""


def read_kept(store: Store, texts: Texts, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The kept rows of a Parquet of texts, in batches of about `BATCH_BYTES`; of all columns, or of some.

    Raises:
        DamagedFileError: when bitmap and texts do not belong together.
    """
    with pq.ParquetFile(store.path(texts.path)) as file:
        keep = read_bitmap(store, texts.keep, file.metadata.num_rows)
        at = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            kept = keep[at : at + rows]
            at += rows
            if kept.any():
                yield from _cut(file.read_row_group(group, columns).filter(flags(kept)))


def _cut(rows: pa.Table) -> Iterator[pa.Table]:
    ends = np.cumsum(array_of(rows["text_bytes"]))
    start = 0
    while start < rows.num_rows:
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + BATCH_BYTES, side="right")))
        yield rows.slice(start, stop - start)
        start = stop
