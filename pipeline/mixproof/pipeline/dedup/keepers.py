"""Which documents stay: the first of each component, and each later one unlike all that stay before it.

A component is a chain whose ends may be very different. So a document is dropped only if its signature agrees with
that of a document that stays; the first such document is its keeper. Of two documents that agree at least one is
dropped, and none is dropped for a document that it is not similar to.

A component of more than CHUNK documents is settled piece by piece, each piece together with the keepers found before.
After MAX_KEEPERS keepers the remaining documents of a component are kept without comparison. Memory: the signatures of
CHUNK documents, and one file of trees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.pipeline.group import Documents
from mixproof.pipeline.shuffle.document_rows import Load

from .buckets import CHUNK
from .edges import Pairs, agreeing

LOSERS = "losers.npy"
"""int64 [losers, 2]: (dropped document, its keeper), ascending; documents are numbered over all shards of the group."""
MAX_KEEPERS = 4096

Similar = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]
"""Tells which pairs of known documents, given by their indices, are similar: bool [pairs]."""
Known = Callable[[Documents], Similar]
"""Makes ascending documents known."""


def settle_by_signature(trees: Pairs, signatures: Load, agree: int) -> dict[str, NDArray[Any]]:
    """The losers of fuzzy deduplication, to be written; arguments as for `losers_of`."""
    return {LOSERS: losers_of(trees, signatures, agree)}


def losers_of(trees: Pairs, signatures: Load, agree: int) -> Pairs:
    """Return the dropped documents of `trees`, each with its keeper: int64 [losers, 2], ascending.

    Args:
        trees: int64 [rows, 2], (smallest document of the component, another one of it), ascending.
        signatures: gives the signatures of documents, uint16 [documents, minima].
        agree: number of equal minima that makes two documents similar.
    """

    def known(documents: Documents) -> Similar:
        table = signatures(documents)
        return lambda one, two: agreeing(table, one, two, agree)

    losers = [np.zeros((0, 2), dtype=np.int64)]
    for members, sizes in chunks(trees):
        if len(sizes) == 1 and sizes[0] > CHUNK:
            losers += _settle_large(members, known)
        else:
            losers.append(settle(members, sizes, known))
    found = np.concatenate(losers)
    return found[np.argsort(found[:, 0])]


def settle(members: Documents, sizes: NDArray[np.int64], known: Known) -> Pairs:
    """Settle whole components, up to MAX_KEEPERS keepers of each: int64 [losers, 2].

    Args:
        members: int64, the documents of one component after another, ascending in each.
        sizes: int64 [components], documents in each.
        known: compares them.
    """
    documents = np.unique(members)
    is_similar, rows = known(documents), np.searchsorted(documents, members)
    components = np.repeat(np.arange(len(sizes)), sizes)
    losers = [np.zeros((0, 2), dtype=np.int64)]
    for _ in range(MAX_KEEPERS):
        if not len(members):
            break
        is_first = np.append(True, components[1:] != components[:-1])  # the first document of each component stays
        keeper = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
        others = np.flatnonzero(~is_first)
        similar = is_similar(rows[others], rows[keeper[others]])
        dropped, undecided = others[similar], others[~similar]
        losers.append(np.column_stack([members[dropped], members[keeper[dropped]]]))
        members, rows, components = members[undecided], rows[undecided], components[undecided]
    return np.concatenate(losers)


def _settle_large(members: Documents, known: Known) -> Iterator[Pairs]:
    """Settle one component in pieces, each together with the keepers of the pieces before it."""
    keepers = np.zeros(0, dtype=np.int64)
    for first in range(0, len(members), CHUNK):
        if len(keepers) >= MAX_KEEPERS:
            return
        piece = np.append(keepers, members[first : first + CHUNK])
        losers = settle(piece, np.array([len(piece)]), known)
        keepers = np.setdiff1d(piece, losers[:, 0], assume_unique=True)
        yield losers


def chunks(trees: Pairs) -> Iterator[tuple[Documents, NDArray[np.int64]]]:
    """Yield documents and sizes of consecutive components, at most CHUNK documents at a time; larger ones alone."""
    starts = np.flatnonzero(np.append(True, trees[1:, 0] != trees[:-1, 0])) if len(trees) else np.zeros(0, np.int64)
    ends = np.append(starts[1:], len(trees))
    sizes = ends - starts + 1
    sums = np.cumsum(sizes)
    first = 0
    while first < len(starts):
        done = int(sums[first] - sizes[first])
        last = max(first + 1, int(np.searchsorted(sums, done + CHUNK, side="right")))
        rows = np.array(trees[starts[first] : ends[last - 1]])
        roots = np.cumsum(sizes[first:last]) - sizes[first:last]
        members = np.empty(int(sums[last - 1]) - done, dtype=np.int64)
        is_other = np.ones(len(members), dtype=np.bool_)
        is_other[roots] = False
        members[roots], members[is_other] = rows[starts[first:last] - starts[first], 0], rows[:, 1]
        yield members, sizes[first:last]
        first = last
