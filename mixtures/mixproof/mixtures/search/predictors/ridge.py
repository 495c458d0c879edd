"""Ridge regression on logarithms of shares and their pairwise products.

A source's first percent has more effect than its tenth, so a share enters as log(share + offset); the products model
sources that help or hinder each other. The offset, at which the logarithm levels off, and the penalty minimize the
squared leave-one-out error, which ridge regression gives in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .predictor import FloatArray, ones_unless

OFFSETS = (1e-3, 3e-3, 1e-2)
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Penalties on the squared coefficients of standardized features."""


@dataclass(frozen=True)
class Ridge:
    """A fitted ridge regression."""

    offset: float
    penalty: float
    center: FloatArray
    """[features]: means that are subtracted."""
    scale: FloatArray
    """[features]: standard deviations by which they are divided."""
    mean: float
    coefficients: FloatArray
    """[features]"""

    def predict(self, shares: FloatArray) -> FloatArray:
        """Predict the score [mixtures] of shares [mixtures, sources]."""
        features = (pair_features(shares, self.offset) - self.center) / self.scale
        return self.mean + features @ self.coefficients

    def refit(self, shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> Ridge:
        """Fit to other rows with the same offset and penalty."""
        return _Standardized(shares, scores, ones_unless(weights, len(scores)), self.offset).fit(self.penalty)


def fit_ridge(shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> Ridge:
    """Fit with the offset and penalty that have the smallest leave-one-out error."""
    precise = ones_unless(weights, len(scores))
    best: tuple[float, _Standardized, float] | None = None
    for offset in OFFSETS:
        rows = _Standardized(shares, scores, precise, offset)
        for penalty in PENALTIES:
            error = rows.leave_one_out_error(penalty)
            if best is None or error < best[0]:
                best = error, rows, penalty
    assert best is not None
    return best[1].fit(best[2])


def pair_features(shares: FloatArray, offset: float) -> FloatArray:
    """The features: log(share + offset) of every source, and all pairwise products, including squares.

    Returns:
        [mixtures, sources + sources (sources + 1) / 2].
    """
    logs = np.log(shares + offset)
    first, second = np.triu_indices(shares.shape[1])
    return np.hstack([logs, logs[:, first] * logs[:, second]])


class _Standardized:
    """Standardized features of the rows times the root of their weights, and the eigenvectors of their Gram matrix."""

    def __init__(self, shares: FloatArray, scores: FloatArray, weights: FloatArray, offset: float) -> None:
        features = pair_features(shares, offset)
        self.offset, self.mean = offset, float(np.average(scores, weights=weights))
        self.center = np.average(features, axis=0, weights=weights)
        deviation = np.sqrt(np.average((features - self.center) ** 2, axis=0, weights=weights))
        self.scale = np.where(deviation > 1e-12 * np.abs(self.center) + 1e-12, deviation, np.inf)
        root = np.sqrt(weights)
        self.features = root[:, None] * (features - self.center) / self.scale
        self.residuals = root * (scores - self.mean)
        self.of_mean = weights / weights.sum()
        values, self.vectors = np.linalg.eigh(self.features @ self.features.T)
        self.values = np.maximum(values, 0.0)

    def fit(self, penalty: float) -> Ridge:
        weights = self.vectors @ (self.vectors.T @ self.residuals / (self.values + penalty))
        return Ridge(self.offset, penalty, self.center, self.scale, self.mean, self.features.T @ weights)

    def leave_one_out_error(self, penalty: float) -> float:
        """Weighted mean squared error of predicting each row from all others, with a common standardization."""
        shrunk = self.values / (self.values + penalty)
        fitted = self.vectors @ (shrunk * (self.vectors.T @ self.residuals))
        leverage = (self.vectors**2) @ shrunk + self.of_mean
        return float(np.mean(((self.residuals - fitted) / np.maximum(1 - leverage, 1e-9)) ** 2))
