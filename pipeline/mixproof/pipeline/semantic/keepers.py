"""Which documents stay of those that semantic neighbours connect, and the cosine of each other one with its keeper.

The rule is that of fuzzy deduplication (`dedup/keepers.py`): in order of priority, a document is dropped if it is
similar to one that stays, and the first such document is its keeper. All documents of a component are compared, also
those that shared no cell. Components of up to SMALL documents are settled together; a larger one is settled in blocks,
each compared with all keepers so far. The number of keepers has no limit.
Memory: the vectors of CHUNK documents, or of the keepers of one component, 512 bytes each with 256 dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.pipeline.dedup.edges import Pairs
from mixproof.pipeline.dedup.keepers import LOSERS, Similar, chunks, settle
from mixproof.pipeline.group import Documents
from mixproof.pipeline.shuffle.document_rows import Load

from .documents import Block, cosines

COSINES = "cosines.npy"
"""float64 [losers], of each loser with its keeper."""
SMALL = 64
BLOCK = 1024
PAIRS_AT_ONCE = 1 << 16


def settle_by_cosine(trees: Pairs, load: Load, threshold: float) -> dict[str, NDArray[Any]]:
    """The losers and their cosines, to be written; arguments as for `losers_of`."""
    losers = losers_of(trees, load, threshold)
    return {LOSERS: losers, COSINES: _cosines(losers, load)}


def losers_of(trees: Pairs, load: Load, threshold: float) -> Pairs:
    """Return the dropped documents of `trees`, each with its keeper: int64 [losers, 2], ascending.

    Args:
        trees: int64 [rows, 2], (smallest document of the component, another one of it), ascending.
        load: reads vectors.
        threshold: smallest cosine that makes two documents similar.
    """

    def known(documents: Documents) -> Similar:
        vectors = load(documents)
        return lambda one, two: cosines(vectors[one], vectors[two]) >= threshold

    losers = [np.zeros((0, 2), np.int64)]
    for members, sizes in chunks(trees):
        is_small = np.repeat(sizes <= SMALL, sizes)
        losers.append(settle(members[is_small], sizes[sizes <= SMALL], known))
        ends = np.cumsum(sizes)
        for index in np.flatnonzero(sizes > SMALL).tolist():
            losers.append(settle_large(members[ends[index] - sizes[index] : ends[index]], load, threshold))
    found = np.concatenate(losers)
    return found[np.argsort(found[:, 0])]


def settle_large(members: Documents, load: Load, threshold: float) -> Pairs:
    """Settle one component: int64 [losers, 2]; `members` ascend."""
    keepers: list[tuple[Documents, NDArray[np.int16]]] = []
    losers = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(members), BLOCK):
        documents = members[start : start + BLOCK]
        vectors = load(documents)
        keeper = np.full(len(documents), -1)
        for kept, their_vectors in keepers:
            open_ = np.flatnonzero(keeper < 0)
            if not len(open_):
                break
            similar = Block(vectors[open_]).similar(Block(their_vectors), threshold)
            hit = similar.any(axis=1)
            keeper[open_[hit]] = kept[similar.argmax(axis=1)[hit]]
        _settle_block(documents, keeper, Block(vectors), threshold)
        stays = keeper < 0
        keepers = _with_keepers(keepers, documents[stays], vectors[stays])
        losers.append(np.column_stack([documents[~stays], keeper[~stays]]))
    return np.concatenate(losers)


def _settle_block(documents: Documents, keeper: Documents, block: Block, threshold: float) -> None:
    """Settle documents among each other; `keeper` is that of each, -1 if it stays so far."""
    open_ = np.flatnonzero(keeper < 0)
    if not len(open_):
        return
    similar = block.similar(block, threshold)[np.ix_(open_, open_)]
    for index, document in enumerate(open_.tolist()):
        if keeper[document] < 0 and similar[index, index + 1 :].any():
            later = open_[index + 1 :][similar[index, index + 1 :]]
            keeper[later[keeper[later] < 0]] = documents[document]


def _with_keepers(
    keepers: list[tuple[Documents, NDArray[np.int16]]], documents: Documents, vectors: NDArray[np.int16]
) -> list[tuple[Documents, NDArray[np.int16]]]:
    """Add keepers to the last block of them, unless it is full."""
    if keepers and len(keepers[-1][0]) + len(documents) <= 4 * BLOCK:
        kept, their_vectors = keepers.pop()
        documents, vectors = np.concatenate([kept, documents]), np.concatenate([their_vectors, vectors])
    return [*keepers, (documents, vectors)] if len(documents) else keepers


def _cosines(losers: Pairs, load: Load) -> NDArray[np.float64]:
    parts = [np.zeros(0)]
    for start in range(0, len(losers), PAIRS_AT_ONCE):
        part = losers[start : start + PAIRS_AT_ONCE]
        known, positions = np.unique(part, return_inverse=True)
        vectors = load(known)
        one, two = positions.reshape(-1, 2).T
        parts.append(cosines(vectors[one], vectors[two]))
    return np.concatenate(parts)
