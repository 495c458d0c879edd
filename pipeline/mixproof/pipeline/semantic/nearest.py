"""The nearest centroids of vectors: among all, or among those of fine cells in the nearest coarse cells.

Products of vectors and centroids are whole numbers below 2^24, so they are exact in float32 (`vectors.py`), and of
equal ones the first centroid counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .documents import Vectors

ROWS_AT_ONCE = 4096
BEAM = 16
"""Coarse cells whose fine cells are looked at."""
_LOWEST = np.iinfo(np.int64).min


@dataclass(frozen=True)
class FineCells:
    """The centroids of fine cells."""

    centroids: NDArray[np.int16]
    """int16 [fine cells, dimensions], mapped; those of one coarse cell after the other."""
    ends: NDArray[np.int64]
    """int64 [1 + coarse cells]: 0, then the number of fine cells in this coarse cell and those before it."""


def nearest(vectors: Vectors, centroids: NDArray[np.int16], number: int) -> NDArray[np.int64]:
    """The cells of the nearest centroids: int64 [min(`number`, centroids), documents]."""
    exact = centroids.astype(np.float32).T
    found = np.empty((min(number, len(centroids)), len(vectors)), np.int64)
    for first in range(0, len(vectors), ROWS_AT_ONCE):
        part = slice(first, first + ROWS_AT_ONCE)
        found[:, part] = largest(vectors[part].astype(np.float32) @ exact, number)[0]
    return found


def largest(products: NDArray[np.float32], number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The cells with the largest products, the first of equal ones, and these: int64 [min(`number`, cells), documents].

    `products` are overwritten.
    """
    found = np.empty((2, min(number, products.shape[1]), len(products)), np.int64)
    documents = np.arange(len(products))
    for probe in range(found.shape[1]):
        cells = products.argmax(axis=1)
        found[:, probe] = cells, products[documents, cells]
        products[documents, cells] = -np.inf
    return found[0], found[1]


def nearest_fine(vectors: Vectors, coarse: NDArray[np.int64], fine: FineCells, number: int) -> NDArray[np.int64]:
    """The nearest fine cells of documents in coarse cells: int64 [`number`, documents], -1 where there are fewer.

    Args:
        vectors: int16 [documents, dimensions].
        coarse: int64 [coarse cells looked at, documents].
        fine: the fine cells.
        number: of cells that are asked for.
    """
    beam, documents = coarse.shape
    best = np.full((beam * number, documents), _LOWEST, np.int64)
    order = np.argsort(coarse, axis=None, kind="stable")
    cells, starts = np.unique(coarse.reshape(-1)[order], return_index=True)
    for cell, places in zip(cells.tolist(), np.split(order, starts[1:]), strict=True):
        first, last = fine.ends[cell : cell + 2].tolist()
        level, members = np.divmod(places, documents)
        exact = fine.centroids[first:last].astype(np.float32).T
        found, products = largest(vectors[members].astype(np.float32) @ exact, number)
        for probe in range(len(found)):  # the larger product first, then the smaller cell
            best[level * number + probe, members] = (products[probe] << 32) - (first + found[probe])
    best.sort(axis=0)
    chosen = best[::-1][:number]
    return np.where(chosen == _LOWEST, -1, -chosen & 0xFFFFFFFF)
