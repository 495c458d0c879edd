"""Spherical k-means in whole numbers: the same clusters on every machine, with any library and number of threads.

Points and centroids are whole numbers of length UNIT, so a product of two is a whole number below 2^53 and exact in
float64, in whatever order it is added up. The nearest centroid is the one with the largest product, the first of equal
ones. Starting points are chosen as k-means++ does (Arthur and Vassilvitskii 2007), each with a probability in
proportion to its distance to those chosen before, but with fixed numbers in place of random ones.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from .embed import UNIT, directions

ITERATIONS = 12
POINTS_AT_ONCE = 4096
_ONE = UNIT * UNIT


def spherical_kmeans(points: NDArray[np.int16], weights: NDArray[np.int64], number: int) -> NDArray[np.int16]:
    """Find centroids: int16 [at most `number`, dimensions], of length UNIT.

    Args:
        points: int16 [points, dimensions], of length UNIT; none is zero.
        weights: int64 [points], positive, at most 2^10: how much each counts.
        number: of centroids; there are fewer if fewer points differ.
    """
    exact = points.astype(np.float64)
    centroids = exact[_starts(exact, weights, number)]
    for _ in range(ITERATIONS):
        cluster = nearest(exact, centroids)
        sums = np.zeros_like(centroids)
        np.add.at(sums, cluster, exact * weights[:, None])
        moved = directions(sums)
        moved[~moved.any(axis=1)] = centroids[~moved.any(axis=1)]  # a cluster that lost its points stays
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return np.unique(centroids, axis=0).astype(np.int16)


def nearest(points: NDArray[np.float64], centroids: NDArray[np.float64]) -> NDArray[np.int64]:
    """The index of the nearest centroid of each point."""
    found = np.empty(len(points), np.int64)
    for first in range(0, len(points), POINTS_AT_ONCE):
        part = slice(first, first + POINTS_AT_ONCE)
        np.argmax(points[part] @ centroids.T, axis=1, out=found[part])
    return found


def _starts(points: NDArray[np.float64], weights: NDArray[np.int64], number: int) -> list[int]:
    """Indices of starting points that differ."""
    chosen: list[int] = []
    distances = np.full(len(points), float(_ONE))
    while len(chosen) < min(number, len(points)):
        mass = np.cumsum(distances.astype(np.int64) * weights)
        if not mass[-1]:
            break
        place = int(mass[-1]) * _fixed(len(chosen)) >> 64
        index = int(np.searchsorted(mass, place, side="right"))
        chosen.append(index)
        products = points @ points[index]
        distances = np.minimum(distances, np.maximum(_ONE - products, 0))
        alike = np.flatnonzero(products == products[index])  # equal points have equal products
        distances[alike[(points[alike] == points[index]).all(axis=1)]] = 0
    return chosen


def _fixed(index: int) -> int:
    """The 64-bit number with which the starting point of this index is chosen."""
    return int.from_bytes(hashlib.sha256(f"k-means start {index}".encode()).digest()[:8], "big")
