"""Connected documents from the forests of all ranges, in memory that does not grow with them.

A row is a pair of connected documents, the smaller first. Documents are cut into parts, each with about PART_ROWS rows
whose larger document is in it. Going down from the last part, the rows of a part are connected; each of its documents
then points to the smallest it is connected with so far, and what the part connects among smaller documents is handed
down as rows of their parts. Going up again, each document learns the smallest of its whole component from the one it
points to: a part writes down which smaller documents it points to, and is answered when their part is settled.

Rows wait in files beside the output. Memory is that of one part, about 150 bytes a row: 300 MB, whatever the number of
documents, unless one component is larger than that. The time is about a microsecond and a half a document on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.sorted_rows import rows_between
from mixproof.pipeline.words.ngrams import mixed

from .edges import FOREST, STAGE, Places, forest

PART_ROWS = 2_000_000
BLOCK_ROWS = 1 << 20
"""Rows of a file that are in memory at a time."""
SAMPLE = 1024
"""Every so-many-th row is looked at to cut documents into parts."""

Source = Callable[[], NDArray[Any]]
"""Maps a forest, int64 [rows, 2], the smaller document first; mapped anew each time, or all its pages would stay."""


class Spill:
    """Rows of two documents, int64 [rows, 2], waiting in a file a part."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name

    def add(self, rows: Places, parts: Places) -> None:
        """Append each of `rows` to the file of its part, in order."""
        if not len(rows):
            return
        order = np.argsort(parts, kind="stable")
        numbers, starts = np.unique(parts[order], return_index=True)
        for part, some in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
            with self._path(part).open("ab") as file:
                file.write(np.ascontiguousarray(rows[some], dtype=np.int64).tobytes())

    def blocks(self, part: int) -> Iterator[Places]:
        """The rows of a part in the order in which they came."""
        path = self._path(part)
        if path.exists():
            with path.open("rb") as file:
                while len(rows := np.fromfile(file, dtype=np.int64, count=2 * BLOCK_ROWS)):
                    yield rows.reshape(-1, 2)

    def all(self, part: int) -> Places:
        """All rows of a part."""
        return np.concatenate([np.zeros((0, 2), dtype=np.int64), *self.blocks(part)])

    def drop(self, part: int) -> None:
        """Forget a part that is done with."""
        self._path(part).unlink(missing_ok=True)

    def _path(self, part: int) -> Path:
        return self._folder / f"{self._name}-{part:06d}"


def trees_file(part: int) -> str:
    """Name of a file of trees: int64 [rows, 2], (smallest of the component, another one of it), rising."""
    return f"trees-{part:06d}.npy"


def connect(store_url: str, key: str, forests: Sequence[str]) -> None:
    """Write the trees of all components; whole components lie in one file, which `facts` say how many there are of.

    Args:
        store_url: the store.
        key: of this output.
        forests: keys of the ranges' forests.
    """
    store = Store(store_url)
    sources = [partial(np.load, store.path(f"{STAGE}/{part}/{FOREST}"), mmap_mode="r") for part in forests]
    files = -(-sum(len(source()) for source in sources) // PART_ROWS)
    with store.attempt(STAGE, key) as attempt, store.attempt(STAGE, f"{key}-rows") as scratch:
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


def connected(sources: Sequence[Source], folder: Path) -> Iterator[Places]:
    """Rows (smallest of the component, another one of it) for every other document of every component, once each.

    Args:
        sources: forests, rising by the larger document.
        folder: where rows may wait.
    """
    bounds = _bounds(sources)
    pointers, asked, answers = Spill(folder, "pointers"), Spill(folder, "asked"), Spill(folder, "answers")
    _go_down(sources, bounds, Spill(folder, "pending"), pointers, asked)
    for part, first in enumerate(bounds.tolist()):
        rows, known = pointers.all(part), answers.all(part)
        known = known[np.argsort(known[:, 0])]
        below = rows[:, 0] < first
        rows[below, 0] = known[np.searchsorted(known[:, 0], rows[below, 0]), 1]
        rows = rows[np.argsort(rows[:, 1])]
        for block in asked.blocks(part):
            places = np.minimum(np.searchsorted(rows[:, 1], block[:, 0]), max(0, len(rows) - 1))
            roots = block[:, 0].copy()  # who points to nothing is the smallest itself
            if len(rows):
                inside = rows[places, 1] == block[:, 0]
                roots[inside] = rows[places[inside], 0]
            answers.add(np.column_stack([block[:, 0], roots]), block[:, 1])
        for spill in (pointers, answers, asked):
            spill.drop(part)
        yield rows


def _go_down(sources: Sequence[Source], bounds: Places, pending: Spill, pointers: Spill, asked: Spill) -> None:
    """Leave in `pointers` (smaller, document) for each document, and in `asked` (smaller, part that asks for it)."""
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
        requests = np.column_stack([smaller, np.full(len(smaller), part)])
        asked.add(requests, np.searchsorted(bounds, smaller, side="right") - 1)


def _rows(sources: Sequence[Source], low: int, high: int) -> Iterator[Places]:
    """Rows of all forests whose larger document is in [low, high), about BLOCK_ROWS at a time."""
    held: list[Places] = []
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


def _bounds(sources: Sequence[Source]) -> Places:
    """The first document of each part, 0 before all."""
    looked_at = np.sort(
        np.concatenate([np.zeros(0, dtype=np.int64), *(np.array(source()[::SAMPLE, 1]) for source in sources)])
    )
    step = max(1, PART_ROWS // SAMPLE)
    return np.unique(np.append(0, looked_at[step::step])).astype(np.int64)
