"""Gradient-boosted trees (LightGBM) on plain shares, with one thread and fixed seeds, so that fits are repeatable.

LightGBM stores scores as float32, so differences from their mean are fitted: a loss and the same loss plus a constant
then give the same trees.

1,000 small boosting rounds of trees with at most 31 leaves. A leaf has at least 20 mixtures when there are 500 or
more, and fewer otherwise, because a search starts from a few dozen. LightGBM is installed by the extra `search`;
without it the search uses the other predictors, and the report says so.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .predictor import FloatArray

if TYPE_CHECKING:
    from lightgbm import Booster

ROUNDS = 1000
LEARNING_RATE = 0.01
REFIT_SPEED = 10
MAX_LEAVES = 31
MOST_ROWS_PER_LEAF = 20
LEAST_ROWS_PER_LEAF = 3


@dataclass(frozen=True)
class Trees:
    """Fitted trees."""

    booster: Booster
    mean: float
    """Mean of the scores; the trees predict differences from it."""

    def predict(self, shares: FloatArray) -> FloatArray:
        """Predict the score [mixtures] of shares [mixtures, sources]."""
        return self.mean + np.asarray(self.booster.predict(shares, num_threads=1), dtype=np.float64)

    def refit(self, shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> Trees:
        """Fit to other rows, with a tenth of the rounds and ten times the learning rate: refits are many."""
        return _fit(shares, scores, weights, ROUNDS // REFIT_SPEED, LEARNING_RATE * REFIT_SPEED)


def is_installed() -> bool:
    """Whether LightGBM can be imported."""
    return importlib.util.find_spec("lightgbm") is not None


def fit_trees(shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> Trees:
    """Fit by boosting."""
    return _fit(shares, scores, weights, ROUNDS, LEARNING_RATE)


def _fit(
    shares: FloatArray, scores: FloatArray, weights: FloatArray | None, rounds: int, learning_rate: float
) -> Trees:
    import lightgbm

    rows_per_leaf = min(MOST_ROWS_PER_LEAF, max(LEAST_ROWS_PER_LEAF, len(scores) // 25))
    parameters = {
        "objective": "regression",
        "learning_rate": learning_rate,
        "num_leaves": MAX_LEAVES,
        "min_data_in_leaf": rows_per_leaf,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "seed": 1,
        "verbosity": -1,
    }
    mean = float(scores.mean())
    rows = lightgbm.Dataset(shares, scores - mean, weight=weights)
    # without keep_training_booster a fifth of the time goes into writing the trees as text and reading them back
    return Trees(lightgbm.train(parameters, rows, rounds, keep_training_booster=True), mean)
