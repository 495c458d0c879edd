"""The tables of a fastText model, read from its file: its words, its settings, and what each feature adds to a score.

The format is that of fastText 0.9.2, version 12 (`Args::load`, `Dictionary::load` and `DenseMatrix::load` in its
source), all little-endian. A text is scored by the mean of the vectors of its features, times the matrix of outputs, so
one number per feature and label is enough: the product of both. That is found once, when the model is loaded.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .fasttext_format import FORMAT, MAGIC, SOFTMAX, SUPERVISED

MOST_LABELS = 8
"""Models with more labels are left to fastText: a number per feature and label would need much memory."""
BLOCK_ROWS = 1 << 16
PREFIX = b"__label__"
_ARGS, _SIZES, _ENTRY, _SHAPE = (struct.Struct(form) for form in ("<12id", "<3i2q", "<qb", "<2q"))
_GRAMS, _LOSS, _KIND, _BUCKETS, _MAX_CHARS = 5, 6, 7, 8, 10
"""Places of settings that matter among the twelve: word n-grams, loss, kind, buckets, longest character n-gram."""


@dataclass(frozen=True)
class FasttextTables:
    """A supervised model with the loss softmax and without character n-grams."""

    words: tuple[bytes, ...]
    labels: tuple[str, ...]
    """Without `__label__`."""
    ngrams: int
    """Longest word n-gram that is hashed."""
    buckets: int
    scores: NDArray[np.float32]
    """[labels - 1, words + buckets]: what a feature adds to the score of a label, less that of the last label."""


def read_tables(path: Path) -> FasttextTables | None:
    """Read a model's file; None for a model of another kind, which is left to fastText."""
    data = memoryview(path.read_bytes())
    magic, version = struct.unpack_from("<2i", data)
    settings = _ARGS.unpack_from(data, 8)
    place = 8 + _ARGS.size
    entries, words, labels, _, pruned = _SIZES.unpack_from(data, place)
    place += _SIZES.size
    plain = (magic, version, settings[_LOSS], settings[_KIND]) == (MAGIC, FORMAT, SOFTMAX, SUPERVISED)
    if not plain or settings[_MAX_CHARS] > 0 or pruned >= 0 or not 1 < labels <= MOST_LABELS:
        return None
    names: list[bytes] = []
    raw = data.obj
    assert isinstance(raw, bytes), "the file was read"
    for _ in range(entries):
        end = raw.index(b"\0", place)
        names.append(raw[place:end])
        place = end + 1 + _ENTRY.size
    if data[place]:  # quantized
        return None
    inputs, place = _matrix(data, place + 1)
    outputs, _ = _matrix(data, place + 1)
    return FasttextTables(
        tuple(names[:words]),
        tuple(name.removeprefix(PREFIX).decode() for name in names[words:]),
        settings[_GRAMS],
        settings[_BUCKETS],
        _scores(inputs, outputs),
    )


def _matrix(data: memoryview, place: int) -> tuple[NDArray[np.float32], int]:
    rows, columns = _SHAPE.unpack_from(data, place)
    first, size = place + _SHAPE.size, rows * columns
    return np.frombuffer(data, "<f4", size, first).reshape(rows, columns), first + 4 * size


def _scores(inputs: NDArray[np.float32], outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """The product of both matrices, a block of features at a time."""
    differences = (outputs[:-1] - outputs[-1]).astype(np.float64)
    found = np.empty((len(differences), len(inputs)), np.float32)
    for first in range(0, len(inputs), BLOCK_ROWS):
        block = slice(first, first + BLOCK_ROWS)
        found[:, block] = differences @ inputs[block].T.astype(np.float64)
    return found
