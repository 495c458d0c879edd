"""What values the documents of a shard have that deduplication kept: categories with counts, and numbers in order.

The values of a shard are an output of their own, keyed by its documents, the bitmap and the labels. Numbers are saved
as 64-bit integers that sort as they do, so an exact quantile of a source is found by binary search in the files of its
shards (`edges.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.split_sources import MAX_PARTS
from mixproof.pipeline.bitmap import Bitmap, read_bitmap
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.columns import array_of, flags
from mixproof.pipeline.labels.columns_of_rows import read_column
from mixproof.pipeline.read.batches import SHARDS_PER_TASK, in_batches
from mixproof.pipeline.read.selection import Selection

STAGE = "cells"
VERSION = 1
Columns = tuple[tuple[str, bool], ...]
"""Name of each column of labels, and whether it is a number."""
LabelPaths = Sequence[Mapping[str, str]]
"""For each shard of a source the file of each label."""
_SIGN = np.uint64(1 << 63)


@dataclass(frozen=True)
class Surveyed:
    """One shard to be scanned for values."""

    documents: int
    keep: Bitmap | None
    labels: tuple[tuple[str, str], ...]
    """Name and file of each label."""
    columns: Columns
    """The columns by which the source is divided."""


def survey_shards(store: Store, shards: Sequence[tuple[str, Surveyed]]) -> None:
    """Write the values of some shards, each under its key (Ray task)."""
    for key, shard in shards:
        kept = read_bitmap(store, shard.keep, shard.documents)
        values: list[dict[str, int]] = []
        missing: list[int] = []
        with store.attempt(STAGE, key) as attempt:
            for index, (name, is_number) in enumerate(shard.columns):
                column = read_column(store, dict(shard.labels), name).filter(flags(kept))
                missing.append(column.null_count)
                if is_number:
                    with attempt.path(numbers_file(index)).open("wb") as file:
                        np.save(file, np.sort(sortable(present(column))), allow_pickle=False)
                    values.append({})
                else:
                    values.append(_counts(column))
            attempt.commit(facts={"values": values, "missing": missing})


def survey(selection: Selection, name: str, labels: LabelPaths, columns: Columns) -> list[Receipt]:
    """Find the values of all shards of a source; returns their receipts, in the order of the shards."""
    work: dict[str, Surveyed] = {}
    keys: list[str] = []
    for shard, keep, paths in zip(selection.sources[name].shards, selection.keep[name], labels, strict=True):
        inputs = [shard.documents_sha256, keep and keep.sha256, sorted(paths.items())]
        keys.append(stage_key(STAGE, VERSION, {"survey": [list(column) for column in columns]}, inputs))
        work[keys[-1]] = Surveyed(shard.documents, keep, tuple(sorted(paths.items())), columns)

    def calls(missing: dict[str, Surveyed]) -> list[tuple[object, ...]]:
        return [(selection.store, batch) for batch in in_batches(missing.items(), SHARDS_PER_TASK)]

    done = run_missing(selection.store, STAGE, work, calls, survey_shards, selection.cluster, "values of labels")
    return [done[key] for key in keys]


def numbers_file(index: int) -> str:
    """Name of the file with a shard's numbers of one axis: uint64 [documents], ascending."""
    return f"numbers-{index}.npy"


def present(column: Any) -> NDArray[np.float64]:  # noqa: ANN401 - pyarrow ships no types
    """The values of a number column without nulls."""
    return array_of(pc.cast(pc.drop_null(column), pa.float64(), safe=False)).astype(np.float64)


def sortable(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Integers in the order of the values, none of which is NaN; 0.0 and -0.0 are equal."""
    bits = (values + 0.0).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def number_of(key: int) -> float:
    """The value whose sortable integer this is."""
    bits = np.array([key], np.uint64)
    return float(np.where(bits & _SIGN, bits & ~_SIGN, ~bits).view(np.float64)[0])


def _counts(column: Any) -> dict[str, int]:  # noqa: ANN401 - as above
    counted = pc.value_counts(pc.drop_null(column))
    values, counts = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
    return dict(list(zip(values, counts, strict=True))[: MAX_PARTS + 1])
