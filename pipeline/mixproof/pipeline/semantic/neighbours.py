"""Semantic duplicates among documents of one cell, as edges that connect them.

Documents with the same vector are connected first, and only the first of them is compared, so thousands of copies take
no longer than one. Then every block of documents is compared with every later one. Blocks whose documents are all
connected already are not multiplied, and pairs that are connected are no edges, so documents that are all alike take
time in proportion to their number.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations_with_replacement, product

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.dedup.edges import FOREST, Pairs, forest
from mixproof.pipeline.group import Documents
from mixproof.pipeline.shuffle.document_rows import Load
from mixproof.pipeline.words.ngrams import mixed

from .documents import STAGE, Block

BLOCK = 1024
PENDING = 1 << 18
"""Edges after which documents are connected again."""


def neighbours(documents: Documents, load: Load, threshold: float, block: int = BLOCK) -> Pairs:
    """Connect all documents that their similar pairs connect: int64 [edges, 2].

    Args:
        documents: ascending.
        load: reads their vectors.
        threshold: smallest cosine of a similar pair.
        block: documents that are compared at a time.
    """
    copies, firsts = _without_copies(documents, load, block)
    pairs = combinations_with_replacement(_blocks(0, len(firsts), block), 2)
    return np.concatenate([copies, _connect(firsts, load, threshold, pairs)])


def neighbours_between(one: Documents, other: Documents, load: Load, threshold: float, block: int = BLOCK) -> Pairs:
    """Connect documents by the similar pairs of one of `one` and one of `other`, and by copies in either.

    Arguments as for `neighbours`; all of `one` are before all of `other`.
    """
    copies, firsts = _without_copies(one, load, block)
    other_copies, other_firsts = _without_copies(other, load, block)
    size, every = len(firsts), np.concatenate([firsts, other_firsts])
    pairs = product(_blocks(0, size, block), _blocks(size, len(every), block))
    return np.concatenate([copies, other_copies, _connect(every, load, threshold, pairs)])


def _blocks(start: int, end: int, block: int) -> list[slice]:
    return [slice(first, min(first + block, end)) for first in range(start, end, block)]


def _connect(documents: Documents, load: Load, threshold: float, pairs: Iterable[tuple[slice, slice]]) -> Pairs:
    """Compare pairs of blocks of documents, given by their positions; pairs with the same first block follow."""
    connected = _Connected(len(documents))
    held, one = slice(0, 0), Block(load(documents[:0]))
    for first, later in pairs:
        if connected.is_one(first, later):
            continue
        if held != first:
            held, one = first, Block(load(documents[first]))
        two = one if later == first else Block(load(documents[later]))
        similar = one.similar(two, threshold)
        if similar.any():
            connected.add(similar, first, later)
    return documents[connected.edges()]


class _Connected:
    """Which documents are connected, by their positions."""

    def __init__(self, size: int) -> None:
        self._component = np.arange(size)
        self._pending: list[Pairs] = [np.zeros((0, 2), np.int64)]
        self._count = 0

    def is_one(self, first: slice, other: slice) -> bool:
        """Whether all documents of two blocks are known to be connected."""
        root = self._component[first.start]
        return bool((self._component[first] == root).all() and (self._component[other] == root).all())

    def add(self, similar: NDArray[np.bool_], first: slice, other: slice) -> None:
        """Connect pairs of two blocks."""
        one, two = self._component[first], self._component[other]
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


def _without_copies(documents: Documents, load: Load, block: int) -> tuple[Pairs, Documents]:
    """Documents with the vector of an earlier one, int64 [copies, 2], (the first with it, the copy); the others."""
    copies = _copies(documents, load, block)
    return copies, np.setdiff1d(documents, copies[:, 1], assume_unique=True)


def _copies(documents: Documents, load: Load, block: int) -> Pairs:
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


def save_forest(store: Store, key: str, edges: Pairs) -> None:
    """Write the forest of some edges, which only depends on what they connect."""
    trees = forest(edges)
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(FOREST).open("wb") as file:
            np.save(file, trees[np.argsort(trees[:, 1])], allow_pickle=False)
        attempt.commit(facts={"edges": len(trees)})
