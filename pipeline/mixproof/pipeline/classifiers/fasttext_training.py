"""A fastText classifier with hashed pairs of words, as DCLM's, trained so that the same texts give the same bytes.

With two labels a fastText model of any dimension scores a text by the mean of one number per feature, so one dimension
is enough. The numbers are trained by stochastic gradient descent with a rate that falls to zero, as fastText does, on
one text after the other. fastText's own training cannot be used: with several threads its result depends on their
timing, and with one thread release 0.9.2 leaves nine tenths of its matrix uninitialized (`DenseMatrix::uniform`).

Weights are whole numbers, in units of 1 / SCALE, so sums are exact in any order. The smaller side is repeated until
both are equally large; then a probability of one half means "as likely as not", whatever the sizes of the sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

from .fasttext_features import BUCKETS, Features, find_features
from .fasttext_format import model_bytes

VERSION = 1
EPOCHS = 5
RATE = 1.0
"""How much of the error in the log-odds of a text one step corrects, at first."""
SCALE = 1 << 20
MOST = 700.0
"""Largest argument of `exp`."""


def train_fasttext(texts: Sequence[str], is_positive: NDArray[np.bool_]) -> bytes:
    """Train a model on texts; returns the bytes of its file.

    Args:
        texts: the texts, in an order that the caller fixes.
        is_positive: bool [texts], with texts on both sides.
    """
    dictionary, features = find_features(texts)
    weights = descend(features, is_positive, len(dictionary.words) + BUCKETS)
    sides = int(is_positive.sum()), int((~is_positive).sum())
    return model_bytes(dictionary, weights / SCALE, sides, EPOCHS)


def descend(features: Features, is_positive: NDArray[np.bool_], size: int) -> NDArray[np.int64]:
    """Find the weights of features.

    Returns:
        int64 [size], in units of 1 / SCALE.
    """
    weights = np.zeros(size, np.int64)
    order = np.concatenate([training_order(is_positive, epoch) for epoch in range(EPOCHS)])
    bounds, wanted = features.bounds.tolist(), is_positive.tolist()
    for step, text in enumerate(order.tolist()):
        part = slice(bounds[text], bounds[text + 1])
        ids, counts = features.ids[part], features.counts[part]
        total = int(counts.sum())
        odds = int((weights[ids] * counts).sum()) / (total * SCALE)
        error = wanted[text] - 1 / (1 + math.exp(-max(-MOST, min(MOST, odds))))
        rate = RATE * (1 - step / len(order))
        weights[ids] += round(rate * error * SCALE * total / int((counts * counts).sum())) * counts
    return weights


def training_order(is_positive: NDArray[np.bool_], epoch: int) -> NDArray[np.int64]:
    """The texts in the order of training, those of the smaller side repeated: indices, in a fixed random order."""
    sides = [np.flatnonzero(is_positive), np.flatnonzero(~is_positive)]
    most = max(map(len, sides))
    every = np.concatenate([np.resize(side, most) for side in sides])
    keys = [xxhash.xxh3_64_intdigest(f"{epoch} {place}".encode()) for place in range(len(every))]
    order: NDArray[np.int64] = every[np.argsort(np.array(keys, np.uint64), kind="stable")]
    return order
