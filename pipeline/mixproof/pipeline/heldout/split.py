"""The two sides of a source, training and held out: bitmaps without some documents, and the ledger row `split` (E4).

An output that splits a source holds a bitmap for each shard that loses documents; other shards keep the bitmap they
had. If there are many, tasks write them to outputs of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.errors import AccountError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Attempt, Receipt, Store
from mixproof.ledger.store.receipts import find_receipts
from mixproof.pipeline.bitmap import Bitmap, bitmap_of, read_bitmap, save_bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.read.batches import in_batches
from mixproof.pipeline.read.documents import SourceDocuments

from .heldout_target import HeldoutTarget

SPLIT = "split"
THREADS = 8
"""Bitmaps that are read at a time: on an object store each is waited for."""
MOST_BITMAPS = 1024
"""Bitmaps that the driver writes itself, in half a minute or less."""
PART_BITMAPS = 256
PARTS_VERSION = 1


@dataclass(frozen=True)
class SourceToSplit:
    """A source, and how much of it to hold out."""

    key: str
    """Of its split."""
    documents: SourceDocuments
    keep: tuple[Bitmap | None, ...]
    """What the stages so far have kept, by shard."""
    target: HeldoutTarget


Losing = tuple[int, int, Bitmap | None, NDArray[Any]]
"""A shard that loses documents: its index, number of documents and bitmap so far; the rows that it loses, int64."""


def identity(source: SourceDocuments, keep: Sequence[Bitmap | None]) -> list[list[str | int | None]]:
    """Return what identifies a source's documents in a key: contents, bitmaps, and the files and records of rows."""
    return [
        [shard.documents_sha256, None if bitmap is None else bitmap.sha256, shard.file, shard.first_record]
        for shard, bitmap in zip(source.shards, keep, strict=True)
    ]


def write_without(
    attempt: Attempt,
    output: tuple[str, str],
    source: SourceToSplit,
    documents: NDArray[Any],
    store: Store,
    cluster: Cluster | None,
) -> dict[str, object]:
    """Write the bitmaps of a source without `documents` (fields `shard`, `row`).

    Args:
        attempt: at the output that splits the source.
        output: its stage and key.
        source: what earlier stages kept.
        documents: to be left out.
        store: where the bitmaps are.
        cluster: runs the tasks; None in a task, where the source is small.

    Returns:
        Facts for `read_without`: `kept`, the number of rows kept in each shard that loses documents, by its index. If
        there are more than MOST_BITMAPS, tasks write outputs with that fact, and `parts` has their keys.
    """
    order = np.argsort(documents["shard"], kind="stable")
    losing, starts = np.unique(documents["shard"][order], return_index=True)
    shards, keep = source.documents.shards, source.keep
    work = [
        (index, shards[index].documents, keep[index], rows)
        for index, rows in zip(losing.tolist(), np.split(documents["row"][order], starts[1:]), strict=True)
    ]
    if len(work) <= MOST_BITMAPS or cluster is None:
        return {"kept": _write(attempt, store, work)}
    stage, key = output
    parts = {
        stage_key(stage, PARTS_VERSION, {"part": number, "bitmaps": PART_BITMAPS}, [key]): some
        for number, some in enumerate(in_batches(work, PART_BITMAPS))
    }

    def calls(missing: Mapping[str, Sequence[Losing]]) -> list[tuple[object, ...]]:
        return [(store, stage, part, some) for part, some in missing.items()]

    run_missing(store, stage, parts, calls, write_part, cluster, f"{source.documents.name}: {SPLIT}")
    return {"kept": {}, "parts": list(parts)}


def write_part(store: Store, stage: str, key: str, work: Sequence[Losing]) -> None:
    """Write some of the bitmaps of a source; the fact `kept` is as in `write_without`."""
    with store.attempt(stage, key) as attempt:
        attempt.commit(facts={"kept": _write(attempt, store, work)})


def _write(attempt: Attempt, store: Store, work: Sequence[Losing]) -> dict[str, int]:
    def write(each: Losing) -> int:
        index, documents, before, rows = each
        bitmap = read_bitmap(store, before, documents).copy()
        bitmap[rows] = False
        save_bitmap(attempt.path(_name(index)), bitmap)
        return int(bitmap.sum())

    with ThreadPoolExecutor(THREADS) as threads:
        return dict(zip((str(index) for index, *_ in work), threads.map(write, work), strict=True))


def parts_of(receipt: Receipt) -> list[str]:
    """The keys of the outputs with the bitmaps of a split, beside its own ones."""
    return list(receipt.facts.get("parts", ()))


def read_without(store: Store, receipt: Receipt, keep: Sequence[Bitmap | None]) -> tuple[Bitmap | None, ...]:
    """Return the bitmaps of a finished split: its own where it wrote one, otherwise those of `keep`."""
    found = list(keep)
    parts = find_receipts(store, receipt.stage, parts_of(receipt))
    for output in (receipt, *parts.values()):
        for index, kept in output.facts["kept"].items():
            found[int(index)] = bitmap_of(output, kept, _name(int(index)))
    return tuple(found)


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
