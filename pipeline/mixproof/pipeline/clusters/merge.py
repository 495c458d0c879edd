"""Merge many fine clusters to a few, near ones first, with balanced sizes.

Fine clusters follow the density of documents, so neither their number nor their sizes fit a mixture. Here the two whose
union costs least are merged until the requested number is left. The cost is the cosine distance of the centroids times
the root of the harmonic mean of the sizes. Without sizes one cluster would swallow the others; with the mean itself, as
in Ward's method, sizes would decide more than contents. Sizes are bytes of text, since a mixture counts tokens. A union
larger than CAP times the mean size is made only if no other is left, and clusters of a few long documents, which could
not supply a held-out set, are merged first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .embed import UNIT, directions
from .label_statistics import ANY

CAP = 2
_ONE = UNIT * UNIT
_TOO_LARGE = 1e6
"""Added to the cost of a union above the cap; other costs are smaller, as sizes are shares of the mean. A union of two
groups costs four times as much, so that it comes last even where both clusters have few documents."""
LAST = 2
LEAST = 1000
"""A cluster has few documents if it has fewer than two, or than the mean divided by this."""


def merge_clusters(
    centroids: NDArray[np.int16],
    sizes: NDArray[np.int64],
    documents: NDArray[np.int64],
    number: int,
    groups: NDArray[np.int64] | None = None,
    fewest: int = 2,
) -> NDArray[np.int64]:
    """Assign each fine cluster to one of `number` clusters.

    Args:
        centroids: int16 [fine, dimensions], of length UNIT.
        sizes: int64 [fine], bytes of each.
        documents: int64 [fine], documents of each.
        number: of clusters; more than there are fine ones: each is a cluster.
        groups: int64 [fine], the group of each: two groups are merged only if nothing else is left, except with ANY.
            None: there are no groups.
        fewest: documents that a cluster should have. If one has fewer, fine clusters are merged again, and clusters
            with fewer documents go first once LAST times `number` are left, or, if that is too late, twice as many,
            and so on: the earlier this begins, the less clusters agree with contents.

    Returns:
        int64 [fine], numbers from 0, without gaps; the largest cluster is 0.
    """
    fine = _Fine(centroids, sizes, documents, np.full(len(centroids), ANY) if groups is None else groups)
    found, last = _merged(fine, number, 2, 0), LAST * number
    while fewest > 2 and np.bincount(found, documents).min() < fewest:
        found = _merged(fine, number, fewest, last)
        if last >= len(centroids):
            break
        last *= 2
    return found


@dataclass(frozen=True)
class _Fine:
    """Fine clusters: their centroids, bytes, documents and groups."""

    centroids: NDArray[np.int16]
    sizes: NDArray[np.int64]
    documents: NDArray[np.int64]
    groups: NDArray[np.int64]


def _merged(fine: _Fine, number: int, fewest: int, last: int) -> NDArray[np.int64]:
    """Merge; clusters of fewer documents than `fewest` go first once `last` are left."""
    centroids, sizes, documents = fine.centroids, fine.sizes, fine.documents
    owner = np.arange(len(centroids))
    vectors, weights = centroids.astype(np.float64), np.maximum(sizes.astype(np.float64), 1)
    mean, counts = weights.sum() / number, documents.copy()
    least = max(2, int(documents.sum()) // (LEAST * number))
    alive = list(range(len(centroids)))
    group = fine.groups.copy()
    while len(alive) > number:
        few = counts[alive] < (max(least, fewest) if len(alive) <= last else least)
        first, second = _cheapest(directions(vectors[alive]), weights[alive], mean, few, group[alive])
        keep, gone = alive[first], alive[second]
        total = weights[keep] + weights[gone]
        vectors[keep] = directions(
            np.rint((vectors[keep] * weights[keep] + vectors[gone] * weights[gone]) * (UNIT / total))[None]
        )[0]
        weights[keep], counts[keep] = total, counts[keep] + counts[gone]
        owner[owner == gone] = keep
        group[keep] = max(group[keep], group[gone]) if ANY in (group[keep], group[gone]) else group[keep]
        alive.remove(gone)
    order = sorted(alive, key=lambda each: (-weights[each], each))
    return np.array([order.index(each) for each in owner.tolist()], np.int64)


def _cheapest(
    vectors: NDArray[np.float64],
    weights: NDArray[np.float64],
    mean: float,
    is_few: NDArray[np.bool_],
    group: NDArray[np.int64],
) -> tuple[int, int]:
    """The pair whose union costs least, the first of equal ones."""
    distance = 1 - (vectors @ vectors.T) / _ONE
    harmonic = np.outer(weights, weights) / np.add.outer(weights, weights) / mean
    cost = np.maximum(distance, 0) * np.sqrt(harmonic)
    cost = cost + _TOO_LARGE * (np.add.outer(weights, weights) > CAP * mean)
    cost = cost - 2 * _TOO_LARGE * np.logical_or.outer(is_few, is_few)
    is_apart = np.not_equal.outer(group, group) & (np.minimum.outer(group, group) != ANY)
    cost = cost + 4 * _TOO_LARGE * is_apart
    cost[np.tril_indices(len(weights))] = np.inf
    first, second = np.unravel_index(np.argmin(cost), cost.shape)
    return int(first), int(second)
