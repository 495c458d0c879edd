"""Pairs of documents that share a band and whose signatures agree, found by ranges of band hashes.

A task takes one range of band hashes from all shards and finds its buckets (`buckets.py`). A pair from a bucket is an
edge when at least `agree` of the minima in the two signatures are equal. The task writes a forest: for each document
with an edge, the first document that it is connected with. So its output has at most one row per document, however
large the buckets are.

In buckets of up to ALL_PAIRS documents all pairs are compared. In a larger bucket each document is compared with the
later ones that it is not connected with yet, which connects the same documents as all pairs would. After MAX_PIVOTS
documents the comparison of a bucket ends. So two documents far down a very large bucket may be missed there, but can
still meet in another band.
Memory: that of the buckets, and the signatures of CHUNK documents, read from their shards.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.group import Documents
from mixproof.pipeline.shuffle.document_rows import DocumentRows, Load
from mixproof.pipeline.shuffle.shuffle import Ranges
from mixproof.pipeline.words.ngrams import ranges as index_ranges

from .buckets import Buckets, buckets

STAGE = "fuzzy"
FOREST = "forest.npy"
"""int64 [edges, 2]: (first document of the tree, another one), ascending by the second."""
ALL_PAIRS = 8
MAX_PIVOTS = 256
PAIRS_AT_A_TIME = 1 << 13

Pairs = NDArray[np.int64]
"""Pairs of documents, int64 [pairs, 2]."""


def find_edges(store: Store, key: str, table: DocumentRows, bands: Ranges, number: int, agree: int) -> None:
    """Write the forest of range `number` of band hashes over all shards of a group; `table`: its signatures."""
    write_forest(store, key, buckets(bands.read(store, number)), partial(table.read, store), agree)


def write_forest(store: Store, key: str, found: Iterable[Buckets], signatures: Load, agree: int) -> None:
    """Write the forest of some buckets.

    Args:
        store: the store.
        key: of the output.
        found: the buckets, some at a time.
        signatures: gives those of their documents, uint16 [documents, minima].
        agree: number of equal minima that makes an edge.
    """
    trees, compared = np.zeros((0, 2), dtype=np.int64), 0
    for members, sizes in found:
        known = np.unique(members)
        pairs, tried = bucket_edges(np.searchsorted(known, members), sizes, signatures(known), agree)
        trees = forest(np.concatenate([trees, known[pairs]]))
        compared += tried
    trees = trees[np.argsort(trees[:, 1])]
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(FOREST).open("wb") as file:
            np.save(file, trees, allow_pickle=False)
        attempt.commit(facts={"compared": compared, "edges": len(trees)})


def bucket_edges(
    members: Documents, sizes: NDArray[np.int64], signatures: NDArray[np.uint16], agree: int
) -> tuple[Pairs, int]:
    """Find enough edges inside buckets to connect everything that all edges would connect.

    Args:
        members: int64, the documents of one bucket after another as rows of `signatures`, ascending in each bucket.
        sizes: int64 [buckets], documents in each bucket, at least 2.
        signatures: uint16 [documents, minima].
        agree: number of equal minima that makes an edge.

    Returns:
        int64 [edges, 2], and how many pairs were compared.
    """
    offsets = np.cumsum(sizes) - sizes
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    for size in range(2, ALL_PAIRS + 1):
        these = members[index_ranges(offsets[sizes == size], sizes[sizes == size])].reshape(-1, size)
        pairs += [these[:, [one, two]] for one, two in combinations(range(size), 2)]
    candidates = np.concatenate(pairs)
    _, unique = np.unique(candidates[:, 0] * len(signatures) + candidates[:, 1], return_index=True)
    candidates = candidates[unique]
    edges = [candidates[agreeing(signatures, candidates[:, 0], candidates[:, 1], agree)]]
    compared = len(candidates)
    for bucket in np.flatnonzero(sizes > ALL_PAIRS):
        in_bucket = members[offsets[bucket] : offsets[bucket] + sizes[bucket]]
        found, tried = _large_bucket(in_bucket, signatures, agree)
        edges.append(found)
        compared += tried
    return np.concatenate(edges), compared


def _large_bucket(members: Documents, signatures: NDArray[np.uint16], agree: int) -> tuple[Pairs, int]:
    """Compare each of the first MAX_PIVOTS documents with the later ones in other components."""
    component = np.arange(len(members))
    edges, compared, pivots = [np.zeros((0, 2), dtype=np.int64)], 0, 0
    for pivot in range(len(members) - 1):
        others = pivot + 1 + np.flatnonzero(component[pivot + 1 :] != component[pivot])
        if not len(others):
            continue
        if pivots == MAX_PIVOTS:
            break
        pivots += 1
        compared += len(others)
        near = others[agreeing(signatures, np.full(len(others), members[pivot]), members[others], agree)]
        joined = np.isin(component, component[near])
        component[joined] = component[pivot]
        edges.append(np.column_stack([np.full(len(near), members[pivot]), members[near]]))
    return np.concatenate(edges), compared


def forest(edges: Pairs) -> Pairs:
    """Connect every document of `edges` to the smallest of its component: int64 [documents - components, 2]."""
    nodes, ends = np.unique(edges, return_inverse=True)
    ends = ends.reshape(-1, 2)
    from scipy.sparse import coo_array  # here, because the import takes 0.3 s and most builds need no edges
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(len(nodes), len(nodes)))
    _, labels = connected_components(links, directed=False)
    _, firsts = np.unique(labels, return_index=True)  # nodes ascend, so the first of a label is the smallest
    roots = nodes[firsts][labels]
    branches: Pairs = np.column_stack([roots, nodes])[roots != nodes].astype(np.int64)
    return branches


def agreeing(signatures: NDArray[np.uint16], one: Documents, two: Documents, agree: int) -> NDArray[np.bool_]:
    """Tell which pairs of rows of `signatures` have at least `agree` equal minima: bool [pairs]."""
    enough = np.empty(len(one), dtype=np.bool_)
    for first in range(0, len(one), PAIRS_AT_A_TIME):
        part = slice(first, first + PAIRS_AT_A_TIME)
        enough[part] = np.count_nonzero(signatures[one[part]] == signatures[two[part]], axis=1) >= agree
    return enough
