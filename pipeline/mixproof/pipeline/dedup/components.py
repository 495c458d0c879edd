"""Connected components from the forests of all ranges, in bounded memory.

A row is a pair of connected documents, the smaller first. Documents are split into parts such that each part has about
PART_ROWS rows whose larger document is in it. The first pass goes from the last part to the first: it connects the rows
of a part and points each of its documents to the smallest one known to be connected with it; connections that the part
finds among smaller documents are passed down as rows of their parts. The second pass goes from the first part to the
last: each document gets the smallest document of its whole component from the one it points to. For that, a part
records which smaller documents it points to, and receives the answers once the parts of these are settled.

Rows wait in files beside the output. Memory is that of one part, about 150 bytes per row: 300 MB whatever the number of
documents, unless one component is larger than a part. Time: about 1.5 microseconds per document on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.group import Documents
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.sorted_rows import rows_between
from mixproof.pipeline.words.ngrams import mixed

from .edges import FOREST, Pairs, forest

PART_ROWS = 2_000_000
BLOCK_ROWS = 1 << 20
"""Rows of a file that are held in memory at a time."""
SAMPLE_EVERY = 1024
"""Documents are split into parts by a sample: one row in this many."""

MapForest = Callable[[], NDArray[Any]]
"""Maps a forest, int64 [rows, 2], the smaller document first. It is mapped again for each use: otherwise all pages that
were read would stay in memory."""


class Spill:
    """Rows of two numbers, int64 [rows, 2], waiting on disk in one file per part."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name

    def add(self, rows: Pairs, parts: NDArray[np.int64]) -> None:
        """Append each of `rows` to the file of its part, in order."""
        if not len(rows):
            return
        order = np.argsort(parts, kind="stable")
        numbers, starts = np.unique(parts[order], return_index=True)
        for part, some in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
            with self._path(part).open("ab") as file:
                file.write(np.ascontiguousarray(rows[some], dtype=np.int64).tobytes())

    def blocks(self, part: int) -> Iterator[Pairs]:
        """Yield the rows of a part in the order in which they were added."""
        path = self._path(part)
        if path.exists():
            with path.open("rb") as file:
                while len(rows := np.fromfile(file, dtype=np.int64, count=2 * BLOCK_ROWS)):
                    yield rows.reshape(-1, 2)

    def all(self, part: int) -> Pairs:
        """Return all rows of a part."""
        return np.concatenate([np.zeros((0, 2), dtype=np.int64), *self.blocks(part)])

    def drop(self, part: int) -> None:
        """Delete the file of a part."""
        self._path(part).unlink(missing_ok=True)

    def _path(self, part: int) -> Path:
        return self._folder / f"{self._name}-{part:06d}"


def trees_file(part: int) -> str:
    """Name a file of trees: int64 [rows, 2], (smallest of the component, another one of it), ascending."""
    return f"trees-{part:06d}.npy"


def connect(store: Store, stage: str, key: str, forests: Sequence[str]) -> None:
    """Write the trees of all components; a component is never split over files. The fact `files` is their number.

    Args:
        store: the store.
        stage: of the forests and of this output.
        key: of this output.
        forests: keys of the forests of all ranges.
    """
    sources = [partial(load_array, store.path(f"{stage}/{part}/{FOREST}"), mmap_mode="r") for part in forests]
    files = -(-sum(len(source()) for source in sources) // PART_ROWS)
    with store.attempt(stage, key) as attempt, store.attempt(stage, f"{key}-rows") as scratch:
        folder = scratch.path(".")
        trees = Spill(folder, "trees")
        for rows in connected(sources, folder):
            trees.add(rows, (mixed(rows[:, 0].astype(np.uint64)) % np.uint64(files)).astype(np.int64))
        for part in range(files):
            found = trees.all(part)
            with attempt.path(trees_file(part)).open("wb") as file:
                np.save(file, found[np.lexsort((found[:, 1], found[:, 0]))], allow_pickle=False)
            trees.drop(part)
        attempt.commit(facts={"files": files})


def connected(sources: Sequence[MapForest], folder: Path) -> Iterator[Pairs]:
    """Yield a row (smallest of its component, document) for every document that is not the smallest, once each.

    Args:
        sources: forests, ascending by the larger document.
        folder: for temporary files.
    """
    bounds = _bounds(sources)
    pointers, requests, answers = Spill(folder, "pointers"), Spill(folder, "requests"), Spill(folder, "answers")
    _go_down(sources, bounds, Spill(folder, "pending"), pointers, requests)
    for part, first in enumerate(bounds.tolist()):
        rows, known = pointers.all(part), answers.all(part)
        known = known[np.argsort(known[:, 0])]
        below = rows[:, 0] < first
        rows[below, 0] = known[np.searchsorted(known[:, 0], rows[below, 0]), 1]
        rows = rows[np.argsort(rows[:, 1])]
        for block in requests.blocks(part):
            found = np.minimum(np.searchsorted(rows[:, 1], block[:, 0]), max(0, len(rows) - 1))
            roots = block[:, 0].copy()  # a document that points to nothing is the smallest itself
            if len(rows):
                has_pointer = rows[found, 1] == block[:, 0]
                roots[has_pointer] = rows[found[has_pointer], 0]
            answers.add(np.column_stack([block[:, 0], roots]), block[:, 1])
        for spill in (pointers, answers, requests):
            spill.drop(part)
        yield rows


def _go_down(sources: Sequence[MapForest], bounds: Documents, pending: Spill, pointers: Spill, requests: Spill) -> None:
    """First pass: fill `pointers` with (smaller, document), and `requests` with (smaller, part that needs its root)."""
    ends = [*bounds[1:].tolist(), np.iinfo(np.int64).max]
    for part in reversed(range(len(bounds))):
        trees = np.zeros((0, 2), dtype=np.int64)
        for block in _rows(sources, int(bounds[part]), ends[part]):
            trees = forest(np.concatenate([trees, block]))
        for block in pending.blocks(part):
            trees = forest(np.concatenate([trees, block]))
        pending.drop(part)
        own = trees[:, 1] >= bounds[part]
        pending.add(trees[~own], np.searchsorted(bounds, trees[~own, 1], side="right") - 1)
        pointers.add(trees[own], np.full(int(own.sum()), part))
        smaller = np.unique(trees[own, 0])
        smaller = smaller[smaller < bounds[part]]
        rows = np.column_stack([smaller, np.full(len(smaller), part)])
        requests.add(rows, np.searchsorted(bounds, smaller, side="right") - 1)


def _rows(sources: Sequence[MapForest], low: int, high: int) -> Iterator[Pairs]:
    """Yield the rows of all forests whose larger document is in [low, high), about BLOCK_ROWS at a time."""
    held: list[Pairs] = []
    size = 0
    for source in sources:
        rows = source()
        held.append(np.array(rows[rows_between(rows[:, 1], low, high)]))
        size += len(held[-1])
        if size >= BLOCK_ROWS:
            yield np.concatenate(held)
            held, size = [], 0
    if size:
        yield np.concatenate(held)


def _bounds(sources: Sequence[MapForest]) -> Documents:
    """Return the first document of each part; the first part starts at 0."""
    sample = np.sort(
        np.concatenate([np.zeros(0, dtype=np.int64), *(np.array(source()[::SAMPLE_EVERY, 1]) for source in sources)])
    )
    step = max(1, PART_ROWS // SAMPLE_EVERY)
    return np.unique(np.append(0, sample[step::step])).astype(np.int64)
