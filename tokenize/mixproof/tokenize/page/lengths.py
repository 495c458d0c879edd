"""Lengths of a build's training documents in tokens, from the provenance of its datasets.

Of large datasets a sample is read: row groups at equal distances, the same for every reader.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.datasets import DatasetRecord
from mixproof.ledger.store import Store

from .palette import Look
from .table import Cell, Table, amount, columns, count

MOST_ROW_GROUPS = 64
"""Row groups that are read of one source."""
BAR, BAR_GAP, HEIGHT = 18, 2, 64
"""Sizes of a histogram, in pixels."""


@dataclass(frozen=True)
class Lengths:
    """Lengths of the documents of one source."""

    source: str
    documents: int
    tokens: NDArray[np.int64]
    """Of the documents that were read, EOD included, sorted."""

    def quantile(self, share: float) -> int:
        """The length that `share` of the documents do not exceed; 0 if there are none."""
        return int(self.tokens[int(share * (len(self.tokens) - 1))]) if len(self.tokens) else 0

    def bins(self) -> dict[int, int]:
        """Documents by the binary logarithm of their length, rounded down."""
        numbers, counts = np.unique(np.log2(np.maximum(self.tokens, 1)).astype(np.int64), return_counts=True)
        return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram."""

    x: int
    y: float
    height: float
    title: str


@dataclass(frozen=True)
class Histogram:
    """The histogram of one source; all of a page have the same axis."""

    source: str
    color: str
    width: int
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[int, str], ...]
    label: str
    """Description for screen readers."""


def read_lengths(store: Store, manifest: Manifest) -> list[Lengths]:
    """Read the lengths of the training documents of every source."""
    found = []
    for name, source in sorted(manifest.sources.items()):
        read = list(_row_groups(store, source.train.datasets))
        tokens = np.sort(np.concatenate(read)) if read else np.empty(0, np.int64)
        found.append(Lengths(name, source.train.documents, tokens))
    return found


def _row_groups(store: Store, parts: Sequence[DatasetRecord]) -> Iterator[NDArray[np.int64]]:
    files = [store.path(part.provenance) for part in parts]
    groups = []
    for file in files:
        with pq.ParquetFile(file) as opened:
            groups += [(file, group) for group in range(opened.num_row_groups)]
    step = max(1, -(-len(groups) // MOST_ROW_GROUPS))
    for file, group in groups[::step]:
        with pq.ParquetFile(file) as opened:
            yield opened.read_row_group(group, columns=["tokens"])["tokens"].to_numpy().astype(np.int64)


def lengths_table(found: Sequence[Lengths], of_source: dict[str, Look]) -> Table:
    """One row per source, in tokens."""
    rows = tuple(
        (
            Cell(one.source, color=of_source[one.source].color),
            count(one.documents),
            count(len(one.tokens)),
            *(count(one.quantile(share)) for share in (0.0, 0.1, 0.5, 0.9, 1.0)),
            count(float(one.tokens.mean()) if len(one.tokens) else 0),
        )
        for one in found
    )
    heads = columns("source", "documents", "read", "shortest", "10%", "median", "90%", "longest", "mean")
    return Table("lengths-table", "Length of training documents, in tokens", heads, rows)


def histograms(found: Sequence[Lengths], of_source: dict[str, Look]) -> list[Histogram]:
    """One histogram per source: documents by length, each bar twice as long as the one before."""
    bins = [one.bins() for one in found]
    known = [number for one in bins for number in one]
    if not known:
        return []
    first, last = min(known), max(known)
    width = (last - first + 1) * (BAR + BAR_GAP)
    ticks = tuple(((number - first) * (BAR + BAR_GAP), amount(2**number)) for number in range(first, last + 1, 3))
    return [
        Histogram(
            one.source,
            of_source[one.source].color,
            width,
            tuple(_bars(mine, first)),
            ticks,
            f"{one.source}: documents by length; half of them have at most {one.quantile(0.5):,} tokens",
        )
        for one, mine in zip(found, bins, strict=True)
    ]


def _bars(mine: dict[int, int], first: int) -> Iterator[Bar]:
    most = max(mine.values(), default=1)
    for number, documents in mine.items():
        height = round(max(1.0, HEIGHT * documents / most), 1)
        title = f"{2**number:,} to {2 ** (number + 1) - 1:,} tokens: {documents:,} documents"
        yield Bar((number - first) * (BAR + BAR_GAP), HEIGHT - height, height, title)
