"""fastText's file of a supervised model with one dimension and two labels, so that fastText itself can use it.

The format is that of fastText 0.9.2, version 12 (`Args::save`, `Dictionary::save` and `Matrix::save` in its source):
settings, dictionary, input matrix and output matrix, all little-endian.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from .fasttext_features import BUCKETS, MIN_COUNT, Dictionary

MAGIC, FORMAT = 793712314, 12
POSITIVE, NEGATIVE = "positive", "negative"
SOFTMAX, SUPERVISED = 3, 3
"""Numbers of the loss and of the kind of model."""
_WORD, _LABEL = 0, 1


def model_bytes(dictionary: Dictionary, weights: NDArray[np.float64], sides: tuple[int, int], epochs: int) -> bytes:
    """The file of a model.

    Args:
        dictionary: its words.
        weights: float64 [words + BUCKETS]: the mean over the features of a text is the logarithm of the odds that it
            is positive.
        sides: number of positive and of negative texts.
        epochs: stated in the file.
    """
    names = [f"__label__{name}".encode() for name in (POSITIVE, NEGATIVE)]
    entries = [(word, count, _WORD) for word, count in zip(dictionary.words, dictionary.counts, strict=True)]
    entries += [(word, count, _LABEL) for word, count in zip(names, sides, strict=True)]
    numbers = (1, 5, epochs, MIN_COUNT, 5, 2, SOFTMAX, SUPERVISED, BUCKETS, 0, 0, 100)
    parts = [
        struct.pack("<2i", MAGIC, FORMAT),
        struct.pack("<12id", *numbers, 1e-4),
        struct.pack("<3i2q", len(entries), len(dictionary.words), 2, dictionary.tokens, -1),
        *(word + b"\0" + struct.pack("<qb", count, kind) for word, count, kind in entries),
        b"\0",  # the matrix is not quantized
        _matrix(weights / 2),  # an odds ratio of exp(2 x), because the outputs are x and -x
        b"\0",
        _matrix(np.array([1.0, -1.0])),
    ]
    return b"".join(parts)


def _matrix(values: NDArray[np.float64]) -> bytes:
    return struct.pack("<2q", len(values), 1) + values.astype("<f4").tobytes()
