"""The two sides of a source, training and held out: bitmaps without some documents, and the ledger row `split` (E4).

An output that splits a source holds a bitmap for each shard that loses documents; other shards keep the bitmap they
had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.errors import AccountError
from mixproof.ledger.store import Attempt, Receipt, Store
from mixproof.pipeline.bitmap import Bitmap, bitmap_of, read_bitmap, save_bitmap
from mixproof.pipeline.read.documents import SourceDocuments

SPLIT = "split"
THREADS = 8
"""Bitmaps that are read at a time: on an object store each is waited for."""


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
    order = np.argsort(documents["shard"], kind="stable")
    losing, starts = np.unique(documents["shard"][order], return_index=True)
    rows_of = dict(zip(losing.tolist(), np.split(documents["row"][order], starts[1:]), strict=True))

    def write(index: int) -> int:
        bitmap = read_bitmap(store, keep[index], source.shards[index].documents).copy()
        bitmap[rows_of[index]] = False
        save_bitmap(attempt.path(_name(index)), bitmap)
        return int(bitmap.sum())

    with ThreadPoolExecutor(THREADS) as threads:
        return dict(zip(map(str, rows_of), threads.map(write, rows_of), strict=True))


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
