"""Choose a predictor by K-fold rank correlation, that is, by its predictions for mixtures it was not fitted to.

Rows are assigned to folds by a fixed permutation. Repeats of one mixture stay in one fold, because a predictor that
has seen a mixture knows its score. The best Spearman correlation wins; a tie goes to the simpler predictor. There
are five folds from 100 mixtures on, ten below, and one per mixture below ten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from mixproof.mixtures.search.predictors.predictor import Fit, FloatArray, Predictor

MANY_MIXTURES = 100
FOLDS_OF_MANY = 5
FOLDS_OF_FEW = 10


@dataclass(frozen=True)
class Validation:
    """How well one predictor predicts rows it was not fitted to."""

    rank_correlation: float
    """Spearman's rank correlation over all rows; 0 when all predictions are equal."""
    residual_deviation: float
    """Root mean square of score minus prediction, in the unit of the score."""
    predicted: FloatArray
    """[mixtures]: prediction for every row, fitted to the rows of the other folds."""


@dataclass(frozen=True)
class Choice:
    """The chosen predictor of one score."""

    family: str
    predictor: Predictor
    """Fitted to all rows."""
    validations: Mapping[str, Validation]
    """Validation of every family, by name."""

    @property
    def validation(self) -> Validation:
        """Validation of the chosen predictor."""
        return self.validations[self.family]


def choose(families: Mapping[str, Fit], shares: FloatArray, scores: FloatArray) -> Choice:
    """Choose a family by K-fold rank correlation and fit it to all rows.

    Args:
        families: the predictors to choose from, simplest first.
        shares: [mixtures, sources], at least two different mixtures.
        scores: [mixtures].
    """
    fold = assign_folds(shares)
    validations = {name: validate(fit, shares, scores, fold) for name, fit in families.items()}
    best = max(validations, key=lambda name: validations[name].rank_correlation)
    return Choice(best, families[best](shares, scores), validations)


def validate(fit: Fit, shares: FloatArray, scores: FloatArray, fold: NDArray[np.int64]) -> Validation:
    """Predict every row from the rows of the other folds."""
    predicted = np.empty_like(scores)
    for held_out in np.unique(fold):
        rows = fold == held_out
        predicted[rows] = fit(shares[~rows], scores[~rows]).predict(shares[rows])
    return validation_of(predicted, scores)


def validation_of(predicted: FloatArray, scores: FloatArray) -> Validation:
    """Compare predictions [mixtures] of held-out rows with their scores."""
    residual = float(np.sqrt(np.mean((scores - predicted) ** 2)))
    return Validation(rank_correlation(predicted, scores), residual, predicted)


def assign_folds(shares: FloatArray) -> NDArray[np.int64]:
    """The fold [mixtures] of every row; rows with equal shares share a fold."""
    mixture = np.unique(shares, axis=0, return_inverse=True)[1].ravel()
    count = int(mixture.max()) + 1
    folds = min(FOLDS_OF_MANY if count >= MANY_MIXTURES else FOLDS_OF_FEW, count)
    order = np.random.default_rng(0).permutation(count)
    fold_of_mixture = np.empty(count, dtype=np.int64)
    fold_of_mixture[order] = np.arange(count) % folds
    return fold_of_mixture[mixture]


def rank_correlation(first: FloatArray, second: FloatArray) -> float:
    """Spearman's rank correlation; ties get their mean rank; 0 when all values of one side are equal."""
    ranks = [rankdata(values) - (len(values) + 1) / 2 for values in (first, second)]
    norm = float(np.sqrt((ranks[0] @ ranks[0]) * (ranks[1] @ ranks[1])))
    return float(ranks[0] @ ranks[1]) / norm if norm > 0 else 0.0
