"""Two sides of a source: bitmaps that leave out some documents, and the ledger's row for it (E4).

An output that splits a source holds one bitmap for each shard that it takes documents from; shards that it
leaves alone keep the bitmap they had.
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

KeepBitmaps = Mapping[str, tuple[Bitmap | None, ...]]
"""Per source a bitmap a shard, in the order of its shards; None keeps all rows."""


def identity(source: SourceDocuments, keep: Sequence[Bitmap | None]) -> list[list[str | int | None]]:
    """What a key must hold of a source's documents: contents, bitmaps, and the names that rows get."""
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
    """Write the bitmaps of `keep` without `documents` (fields `shard`, `row`); rows kept by place of the shard."""
    kept: dict[str, int] = {}
    for place, shard in enumerate(source.shards):
        rows = documents["row"][documents["shard"] == place]
        if len(rows):
            bitmap = read_bitmap(store, keep[place], shard.documents).copy()
            bitmap[rows] = False
            save_bitmap(attempt.path(_name(place)), bitmap)
            kept[str(place)] = int(bitmap.sum())
    return kept


def read_without(receipt: Receipt, kept: Mapping[str, int], keep: Sequence[Bitmap | None]) -> tuple[Bitmap | None, ...]:
    """The bitmaps of a finished output: its own where it wrote one, else those of `keep`."""
    return tuple(
        bitmap_of(receipt, kept[str(place)], _name(place)) if str(place) in kept else bitmap
        for place, bitmap in enumerate(keep)
    )


def split_row(source: str, before: StageRow, train: Count, heldout: Count) -> StageRow:
    """The ledger's row `split`, which drops nothing.

    Args:
        source: its name.
        before: its last row so far.
        train: the training side, counted where it is used.
        heldout: what was held out of this source; nothing where the set was imported.

    Raises:
        AccountError: E4, when documents or bytes are not train + held out.
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


def _name(place: int) -> str:
    return f"keep-{place:06d}.npy"
