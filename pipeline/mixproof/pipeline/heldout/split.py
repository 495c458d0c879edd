"""The two sides of a source, training and held out: bitmaps without some documents, and the ledger row `split` (E4).

An output that splits a source holds a bitmap for each shard that loses documents; other shards keep the bitmap they
had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.errors import AccountError
from mixproof.ledger.store import Attempt, Receipt, Store
from mixproof.pipeline.bitmap import Bitmap, bitmap_of, read_bitmap, save_bitmap
from mixproof.pipeline.read.documents import SourceDocuments

SPLIT = "split"


def identity(source: SourceDocuments, keep: Sequence[Bitmap | None]) -> list[list[str | int | None]]:
    """Return what identifies a source's documents in a key: contents, bitmaps, and the files and records of rows."""
    return [
        [shard.documents_sha256, None if bitmap is None else bitmap.sha256, shard.file, shard.first_record]
        for shard, bitmap in zip(source.shards, keep, strict=True)
    ]


def write_without(
    attempt: Attempt,
    store: Store,
    source: SourceDocuments,
    keep: Sequence[Bitmap | None],
    documents: NDArray[Any],
) -> dict[str, int]:
    """Write the bitmaps of `keep` without `documents` (fields `shard`, `row`).

    Returns:
        The number of rows kept in each shard that loses documents, by the shard's index.
    """
    kept: dict[str, int] = {}
    for index, shard in enumerate(source.shards):
        rows = documents["row"][documents["shard"] == index]
        if len(rows):
            bitmap = read_bitmap(store, keep[index], shard.documents).copy()
            bitmap[rows] = False
            save_bitmap(attempt.path(_name(index)), bitmap)
            kept[str(index)] = int(bitmap.sum())
    return kept


def read_without(receipt: Receipt, kept: Mapping[str, int], keep: Sequence[Bitmap | None]) -> tuple[Bitmap | None, ...]:
    """Return the bitmaps of a finished output: its own where it wrote one, otherwise those of `keep`."""
    return tuple(
        bitmap_of(receipt, kept[str(index)], _name(index)) if str(index) in kept else bitmap
        for index, bitmap in enumerate(keep)
    )


def split_row(source: str, before: StageRow, train: Count, heldout: Count) -> StageRow:
    """Make the ledger row `split`, which drops nothing.

    Args:
        source: its name.
        before: its last ledger row so far.
        train: the training side, as counted where it is used.
        heldout: what was held out of this source; nothing if the set was imported.

    Raises:
        AccountError: E4, when documents or bytes are not the sum of both sides.
    """
    both = train + heldout
    if (both.documents, both.bytes) != (before.documents_out, before.bytes_out):
        raise AccountError(
            "E4",
            f"{before.documents_out} documents of {before.bytes_out} bytes",
            f"{train.documents} + {heldout.documents} documents of {train.bytes} + {heldout.bytes} bytes",
            source=source,
            stage=SPLIT,
        )
    return StageRow(
        stage=SPLIT,
        documents_in=both.documents,
        documents_out=both.documents,
        bytes_in=both.bytes,
        bytes_out=both.bytes,
    )


def _name(shard: int) -> str:
    return f"keep-{shard:06d}.npy"
