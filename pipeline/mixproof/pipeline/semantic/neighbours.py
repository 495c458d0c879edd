"""Semantic duplicates among the documents of a range of cells, as a forest that connects them.

Cells are searched one at a time. Documents with the same vector are connected first, and only the first of them is
compared, so thousands of copies take no longer than one. Then every block of documents is compared with every later
one. Pairs that are connected already are skipped, so a cell whose documents are all alike keeps few edges.
Memory: a cell's vectors if it has up to CHUNK documents, 512 bytes each with 256 dimensions; of a larger cell, two
blocks at a time, and 32 bytes per document. Every pair of a cell is compared, however large it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.dedup.edges import FOREST, Pairs, forest
from mixproof.pipeline.group import Documents
from mixproof.pipeline.shuffle.document_rows import DocumentRows, Load
from mixproof.pipeline.shuffle.fetch import opened_rows, write_needed
from mixproof.pipeline.shuffle.shuffle import Ranges
from mixproof.pipeline.words.ngrams import mixed

from .cell_ranges import documents_in, members_of
from .documents import STAGE, Block, Vectors

CHUNK = 1 << 17
"""Documents whose vectors are held in memory."""
BLOCK = 1024
LARGE_BLOCK = 4096
"""Documents of a block in a cell that is not held in memory: each block is read once for every earlier one."""
PENDING = 1 << 18
"""Edges after which a cell's documents are connected again."""


def list_members(store: Store, key: str, cells: Ranges, number: int, table: DocumentRows) -> None:
    """Write the list of the documents that `find_neighbours` compares."""
    with store.attempt(STAGE, key) as attempt:
        write_needed(attempt, number, documents_in(members_of(cells.read(store, number))), table)
        attempt.commit()


def find_neighbours(
    store: Store, key: str, cells: Ranges, number: int, table: DocumentRows, fetched: str | None, threshold: float
) -> None:
    """Write the forest of a range of cells over all shards of a group.

    Args:
        store: the store.
        key: of this output.
        cells: the records of documents by range of cells.
        number: of the range.
        table: the vectors.
        fetched: key of the shuffle that brought them. None: they are read from the shards.
        threshold: smallest cosine of an edge.
    """
    listed = members_of(cells.read(store, number))
    trees = np.zeros((0, 2), np.int64)
    with opened_rows(store, key, table, fetched, number, lambda: documents_in(listed)) as read:
        for members in _in_chunks(listed):
            held = documents_in(members)
            if len(held) > CHUNK:
                found = [neighbours(held, read, threshold, LARGE_BLOCK)]
            else:
                load = partial(_rows_of, read(held))
                found = [held[neighbours(np.searchsorted(held, cell), load, threshold)] for cell in members]
            trees = forest(np.concatenate([trees, *found]))
    trees = trees[np.argsort(trees[:, 1])]
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(FOREST).open("wb") as file:
            np.save(file, trees, allow_pickle=False)
        attempt.commit(facts={"edges": len(trees)})


def _rows_of(vectors: Vectors, documents: Documents) -> Vectors:
    found: Vectors = vectors[documents]
    return found


def neighbours(documents: Documents, load: Load, threshold: float, block: int = BLOCK) -> Pairs:
    """Connect all documents of a cell that all their similar pairs connect: int64 [edges, 2].

    Args:
        documents: ascending.
        load: reads their vectors.
        threshold: smallest cosine of a similar pair.
        block: documents that are compared at a time.
    """
    copies = _copies(documents, load, block)
    firsts = np.setdiff1d(documents, copies[:, 1], assume_unique=True)
    connected = _Connected(len(firsts))
    for start in range(0, len(firsts), block):
        one = Block(load(firsts[start : start + block]))
        for later in range(start, len(firsts), block):
            two = one if later == start else Block(load(firsts[later : later + block]))
            similar = one.similar(two, threshold)
            if similar.any():
                connected.add(similar, start, later)
    return np.concatenate([copies, firsts[connected.edges()]])


class _Connected:
    """Which documents of a cell are connected, by their positions."""

    def __init__(self, size: int) -> None:
        self._component = np.arange(size)
        self._pending: list[Pairs] = [np.zeros((0, 2), np.int64)]
        self._count = 0

    def add(self, similar: NDArray[np.bool_], first: int, other: int) -> None:
        """Connect pairs of two blocks that start at these positions."""
        one = self._component[first : first + similar.shape[0]]
        two = self._component[other : other + similar.shape[1]]
        rows, columns = np.nonzero(similar & (one[:, None] != two[None, :]))
        self._pending.append(np.column_stack([one[rows], two[columns]]))
        self._count += len(rows)
        if self._count > PENDING:
            self._connect()

    def edges(self) -> Pairs:
        """A forest of all pairs: int64 [edges, 2]."""
        self._connect()
        members = np.flatnonzero(self._component != np.arange(len(self._component)))
        return np.column_stack([self._component[members], members])

    def _connect(self) -> None:
        pairs = np.concatenate(self._pending)
        trees = forest(pairs[pairs[:, 0] != pairs[:, 1]])
        root = np.arange(len(self._component))
        root[trees[:, 1]] = trees[:, 0]
        self._component = root[self._component]  # a component is named by its first document
        self._pending, self._count = [np.zeros((0, 2), np.int64)], 0


def _copies(documents: Documents, load: Load, block: int) -> Pairs:
    """Documents with the vector of an earlier one: int64 [copies, 2], (the first with it, the copy)."""
    hashes = np.empty(len(documents), np.uint64)
    for start in range(0, len(documents), block):
        vectors = load(documents[start : start + block])
        factors = mixed(np.arange(vectors.shape[1], dtype=np.uint64)) | np.uint64(1)
        hashes[start : start + block] = (vectors.astype(np.uint64) * factors).sum(axis=1, dtype=np.uint64)
    order = np.argsort(hashes, kind="stable")
    is_first = np.append(True, hashes[order[1:]] != hashes[order[:-1]])[: len(order)]
    first = np.empty(len(order), np.int64)
    first[order] = order[np.flatnonzero(is_first)[np.cumsum(is_first) - 1]]
    later = np.flatnonzero(first != np.arange(len(first)))
    pairs = np.column_stack([documents[first[later]], documents[later]])
    is_equal = np.ones(len(pairs), np.bool_)
    for start in range(0, len(pairs), block):
        part = pairs[start : start + block]
        known, positions = np.unique(part[:, 0], return_inverse=True)
        is_equal[start : start + block] = (load(known)[positions] == load(part[:, 1])).all(axis=1)
    return pairs[is_equal]


def _in_chunks(members: Sequence[Documents]) -> Iterator[list[Documents]]:
    """Yield cells that together have up to CHUNK documents; a larger one alone."""
    chunk: list[Documents] = []
    size = 0
    for cell in members:
        if chunk and size + len(cell) > CHUNK:
            yield chunk
            chunk, size = [], 0
        chunk.append(cell)
        size += len(cell)
    if chunk:
        yield chunk
