"""Large cells: those of a range whose pairs would take a task too long are compared by several tasks.

A cell of a frequent topic may have a hundred times the documents of another one, and ten thousand times the pairs. So
the largest cells of a range are taken out of it until the rest has TASK_PAIRS pairs or fewer. They are divided into
blocks of BLOCK_DOCUMENTS, and a task compares one block with another one, or with itself. Its forest is added to that
of the range (`range_tasks.py`), which is the same however cells are divided.
Memory of a task: the vectors of two blocks, 67 MB with 256 dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from mixproof.ledger.store import Receipt, Store
from mixproof.pipeline.group import Documents
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.shuffle.document_rows import DocumentRows
from mixproof.pipeline.shuffle.fetch import opened_rows
from mixproof.pipeline.shuffle.shuffle import Ranges

from .cell_ranges import members_of
from .documents import STAGE, held_rows
from .neighbours import neighbours, neighbours_between, save_forest

LARGE = "large.npy"
"""int64: the documents of one large cell after another."""
TASK_PAIRS = 1 << 33
"""Pairs that one task compares, about two minutes of a core with 256 dimensions: those of 131,072 documents."""
BLOCK_DOCUMENTS = 1 << 16


@dataclass(frozen=True)
class CellBlock:
    """Documents of a large cell."""

    start: int
    """Position of the first one in the file of the range's large cells."""
    end: int
    piece: int
    """The number under which their vectors are brought to tasks."""


@dataclass(frozen=True)
class LargeCells:
    """The large cells of a range."""

    key: str
    """Of the file with their documents."""
    piece: int
    """The number under which the vectors of the range's other documents are brought to its task."""
    cells: tuple[tuple[CellBlock, ...], ...]

    @property
    def pairs(self) -> list[tuple[CellBlock, CellBlock]]:
        """The blocks that are compared with each other, or with themselves."""
        return [pair for blocks in self.cells for pair in combinations_with_replacement(blocks, 2)]

    @property
    def pieces(self) -> int:
        """Number of sets of documents whose vectors are brought to tasks."""
        return 1 + sum(map(len, self.cells))


def may_have_large(documents: int, records: int) -> bool:
    """Whether a search of so many documents, in so many records of cells, can have a large cell."""
    return documents * records > 2 * TASK_PAIRS


def divided(members: Sequence[Documents]) -> tuple[list[Documents], list[Documents]]:
    """Divide the cells of a range into those that one task compares, and large ones; both in order."""
    sizes = np.array([len(each) for each in members], np.int64)
    pairs = sizes * (sizes - 1) // 2
    largest_first = np.argsort(-sizes, kind="stable")
    left = int(pairs.sum()) - np.cumsum(pairs[largest_first]) + pairs[largest_first]  # with this one and smaller ones
    large = set(largest_first[left > TASK_PAIRS].tolist())
    ordinary = [each for number, each in enumerate(members) if number not in large]
    return ordinary, [each for number, each in enumerate(members) if number in large]


def find_large(store: Store, key: str, cells: Ranges, number: int) -> None:
    """Write the large cells of a range; the fact `sizes` is the number of documents of each."""
    _, large = divided(members_of(cells.read(store, number)))
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(LARGE).open("wb") as file:
            np.save(file, np.concatenate([np.zeros(0, np.int64), *large]), allow_pickle=False)
        attempt.commit(facts={"sizes": [len(each) for each in large]})


def numbered(receipts: Sequence[Receipt]) -> list[LargeCells]:
    """The large cells of consecutive ranges, with the numbers of their pieces."""
    found: list[LargeCells] = []
    for receipt in receipts:
        piece = found[-1].piece + found[-1].pieces if found else 0
        start, following, cells = 0, piece + 1, []
        for size in map(int, receipt.facts["sizes"]):
            blocks = _blocks(start, start + size, following)
            start, following = start + size, following + len(blocks)
            cells.append(blocks)
        found.append(LargeCells(receipt.key, piece, tuple(cells)))
    return found


def _blocks(start: int, end: int, piece: int) -> tuple[CellBlock, ...]:
    starts = range(start, end, BLOCK_DOCUMENTS)
    return tuple(
        CellBlock(first, min(first + BLOCK_DOCUMENTS, end), piece + number) for number, first in enumerate(starts)
    )


def compare_blocks(
    store: Store,
    key: str,
    large: str,
    blocks: tuple[CellBlock, CellBlock],
    table: DocumentRows,
    fetched: str | None,
    threshold: float,
) -> None:
    """Write the forest of the pairs of two blocks, or of one that is given twice.

    Args:
        store: the store.
        key: of this output.
        large: key of the documents of large cells.
        blocks: of one cell, the earlier first.
        table: the vectors.
        fetched: key of the shuffle that brought them. None: they are read from the shards.
        threshold: smallest cosine of an edge.
    """
    members = load_array(store.path(f"{STAGE}/{large}/{LARGE}"), mmap_mode="r")
    one, other = (np.array(members[block.start : block.end]) for block in blocks)
    with opened_rows(store, f"{key}-one", table, fetched, blocks[0].piece, lambda: one) as read:
        first = read(one)
    if blocks[0] == blocks[1]:
        edges = neighbours(one, held_rows(one, first), threshold)
    else:
        with opened_rows(store, f"{key}-other", table, fetched, blocks[1].piece, lambda: other) as read:
            load = held_rows(np.concatenate([one, other]), np.concatenate([first, read(other)]))
        edges = neighbours_between(one, other, load, threshold)
    save_forest(store, key, edges)
