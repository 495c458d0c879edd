"""The exact cosine of two documents by their vectors, of pairs and of blocks."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from mixproof.pipeline.group import Documents
from mixproof.pipeline.shuffle.document_rows import Load

STAGE = "semantic"
VERSION = 1

Vectors = NDArray[np.int16]
"""int16 [documents, dimensions], whole numbers of length LENGTH."""
PAIRS_AT_ONCE = 1 << 14
BOUND_SLACK = 8
"""More than the rounding of a bound to float32, whose numbers are at most 1 apart below 2^24."""


def cosines(one: Vectors, other: Vectors) -> NDArray[np.float64]:
    """The cosine of each pair of rows: float64 [pairs].

    Products and squares are added up as whole numbers. Root and quotient are rounded as IEEE 754 says, so the result is
    the same on every machine.
    """
    found = np.empty(len(one))
    for first in range(0, len(one), PAIRS_AT_ONCE):
        part = slice(first, first + PAIRS_AT_ONCE)
        left, right = one[part].astype(np.int64), other[part].astype(np.int64)
        squares = (left * left).sum(axis=1) * (right * right).sum(axis=1)
        found[part] = (left * right).sum(axis=1) / np.sqrt(squares.astype(np.float64))
    return found


def held_rows(documents: Documents, vectors: Vectors) -> Load:
    """Give rows of the vectors of some documents, which ascend, from memory."""
    return partial(_rows_of, documents, vectors)


def _rows_of(known: Documents, vectors: Vectors, documents: Documents) -> Vectors:
    found: Vectors = vectors[np.searchsorted(known, documents)]
    return found


class Block:
    """Vectors as float32, ready for products with those of other blocks."""

    def __init__(self, vectors: Vectors) -> None:
        self.values = vectors.astype(np.float32)
        self.squares = np.einsum("ij,ij->i", self.values, self.values, dtype=np.float64)

    def similar(self, other: Block, threshold: float) -> NDArray[np.bool_]:
        """Whether each pair has a cosine of at least `threshold`: bool [own vectors, other vectors].

        A product of whole numbers is exact in float32 (`vectors.py`), so any block gives the same verdict. Lengths
        differ a little by rounding: pairs near the threshold are compared as in `cosines`, the others by a bound.
        """
        products = self.values @ other.values.T
        low, high = (
            threshold * np.sqrt(bound(self.squares) * bound(other.squares)) + slack
            for bound, slack in ((np.min, -BOUND_SLACK), (np.max, BOUND_SLACK))
        )
        found: NDArray[np.bool_] = products >= np.float32(low)
        if not found.any():
            return found
        rows, columns = np.nonzero(found & (products < np.float32(high)))
        squares = self.squares[rows] * other.squares[columns]
        found[rows, columns] = products[rows, columns].astype(np.float64) / np.sqrt(squares) >= threshold
        return found
