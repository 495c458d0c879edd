"""MinHash: documents as sets of word n-grams, a signature of minima for each, and hashes of bands of minima.

The share of equal minima of two signatures estimates the Jaccard similarity J of the two sets of n-grams; two
documents share a band of r minima with probability J^r and one of b bands with 1 - (1 - J^r)^b. Words and
n-grams are those of `words/ngrams.py`; a text with fewer words than n is one gram of all its words, and a text without
words has no signature and no bands. Source: Broder, On the resemblance and containment of documents, 1997.

A minimum is taken over (gram * multiplier) mod 2^32, with 32 bits of the gram's hash: grams are mixed already, so an
odd multiplier is enough to give a new order. The products form a circle, and each order is used four times: the nearest
product above 0, below 0, above 2^31 and below 2^31. Each of the four is the minimum of a permutation, so the expected
agreement is still J. Sharing products does not make signatures worse, because four picks from one circle are rarely the
same gram.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixproof.pipeline.words.ngrams import Ragged, hashes_at, mixed, one_row, ranges, window_hashes

BLOCK_GRAMS = 1 << 17
"""Number of grams that are multiplied at a time."""
NO_GRAM = np.uint32(0xFFFFFFFF)

_NEAREST: tuple[tuple[type[np.uint32] | type[np.int32], np.ufunc], ...] = (
    (np.uint32, np.minimum),
    (np.uint32, np.maximum),
    (np.int32, np.minimum),
    (np.int32, np.maximum),
)
"""The four picks from a circle of products; seen as signed integers, the circle starts at 2^31."""
_STEP = np.uint64(0x9E3779B97F4A7C15)
_BAND = np.uint64(0xD1342543DE82EF95)


@dataclass(frozen=True)
class Sketch:
    """The shape of signatures."""

    ngram: int
    """Words per gram."""
    bands: int
    rows: int
    """Minima per band."""

    @property
    def minima(self) -> int:
        """Minima per signature."""
        return self.bands * self.rows


def grams(words: Ragged, ngram: int) -> Ragged:
    """Hash the n-grams of each text's words; a text with fewer than n words has one gram of all its words, if any."""
    full = window_hashes(words, ngram)
    counts = words.lengths
    short = np.flatnonzero((counts > 0) & (counts < ngram))
    if not len(short):
        return full
    lengths = full.lengths
    lengths[short] = 1
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = np.empty(offsets[-1], dtype=np.uint64)
    whole = counts >= ngram
    values[ranges(offsets[:-1][whole], lengths[whole])] = full.values
    for length in range(1, ngram):
        these = short[counts[short] == length]
        values[offsets[these]] = hashes_at(words.values, words.offsets[these], length)
    return Ragged(values, offsets)


def minima(documents: Ragged, number: int) -> NDArray[np.uint32]:
    """Return the minima of each document's grams, uint32 [number, documents]; all NO_GRAM for a document without grams.

    Minimum k is the pick k // m from the products with multiplier k % m, of m multipliers.
    """
    found = np.full((number, len(documents)), NO_GRAM, dtype=np.uint32)
    filled = np.flatnonzero(documents.lengths)
    if not len(filled):
        return found
    values = (documents.values >> np.uint64(32)).astype(np.uint32)
    starts, firsts = _segments(documents.offsets[filled], documents.lengths[filled])
    ends = np.append(starts[1:], len(values))
    parts = np.empty((number, len(starts)), dtype=np.uint32)
    scratch = np.empty(2 * BLOCK_GRAMS, dtype=np.uint32)
    multipliers = _multipliers(-(-number // len(_NEAREST)))
    segment = 0
    while segment < len(starts):
        last = max(segment + 1, int(np.searchsorted(ends, starts[segment] + BLOCK_GRAMS, side="right")))
        block = values[starts[segment] : ends[last - 1]]
        offsets = starts[segment:last] - starts[segment]
        products = scratch[: len(block)]
        picks = [
            (nearest, products.view(kind), parts[:, segment:last].view(kind)[pick * len(multipliers) :])
            for pick, (kind, nearest) in enumerate(_NEAREST)
        ]
        for k, multiplier in enumerate(multipliers):
            np.multiply(block, multiplier, out=products)
            for nearest, circle, found_here in picks:
                if k < len(found_here):
                    nearest.reduceat(circle, offsets, out=found_here[k])
        segment = last
    found[:, filled] = parts if len(starts) == len(filled) else _joined(parts, firsts, len(multipliers))
    return found


def minima_of_blocks(blocks: Iterable[NDArray[np.uint64]], sketch: Sketch) -> tuple[NDArray[np.uint32], int]:
    """Compute the minima of one document whose words come in blocks, in memory that does not grow with it.

    Returns:
        The minima, uint32 [minima, 1], equal to those of all words at once, and the number of words.
    """
    found = np.empty((sketch.minima, 0), dtype=np.uint32)
    before = np.zeros(0, dtype=np.uint64)
    words = 0
    for block in blocks:
        row = np.concatenate([before, block])
        words += len(block)
        before = row[max(0, len(row) - sketch.ngram + 1) :]
        if len(row) >= sketch.ngram:
            here = minima(window_hashes(one_row(row), sketch.ngram), sketch.minima)
            both = np.concatenate([found, here], axis=1)
            found = _joined(both, np.zeros(1, dtype=np.int64), -(-sketch.minima // len(_NEAREST)))
    if words < sketch.ngram:
        found = minima(grams(one_row(before), sketch.ngram), sketch.minima)
    return found, words


def band_hashes(signatures: NDArray[np.uint32], sketch: Sketch) -> NDArray[np.uint64]:
    """Hash each band of each document, uint64 [documents, bands]; signatures are as returned by `minima`.

    The number of a band is part of its hash, so bands with different numbers never collide by content.
    """
    by_band = signatures.reshape(sketch.bands, sketch.rows, -1)
    sums = np.arange(1, sketch.bands + 1, dtype=np.uint64)[:, None].repeat(signatures.shape[1], axis=1)
    for row in range(sketch.rows):
        sums = mixed(sums * _BAND + by_band[:, row])
    return np.ascontiguousarray(sums.T)


def short_signatures(signatures: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """Return the lower halves of the minima, uint16 [documents, minima]; 1 in 65,536 different minima agree."""
    return np.ascontiguousarray(signatures.T.astype(np.uint16))


def _segments(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split documents into segments of at most BLOCK_GRAMS: starts of all, and each document's first segment."""
    pieces = -(-lengths // BLOCK_GRAMS)
    firsts = np.cumsum(pieces) - pieces
    within = np.arange(pieces.sum()) - np.repeat(firsts, pieces)
    return np.repeat(starts, pieces) + within * BLOCK_GRAMS, firsts


def _joined(parts: NDArray[np.uint32], firsts: NDArray[np.int64], multipliers: int) -> NDArray[np.uint32]:
    """Compute the minima of documents from those of their segments."""
    whole = np.empty((len(parts), len(firsts)), dtype=np.uint32)
    for row, (part, one) in enumerate(zip(parts, whole, strict=True)):
        kind, nearest = _NEAREST[row // multipliers]
        nearest.reduceat(part.view(kind), firsts, out=one.view(kind))
    return whole


def _multipliers(number: int) -> NDArray[np.uint32]:
    """Return odd multipliers, uint32 [number]; a larger number only appends to them."""
    upper = mixed(np.arange(1, number + 1, dtype=np.uint64) * _STEP) >> np.uint64(32)
    return upper.astype(np.uint32) | np.uint32(1)
