"""Scores as a linear function of shares: the effect of a source does not depend on the other shares.

Shares sum to 1, so the coefficients contain the intercept. When there are more sources than mixtures, the
least-squares solution of smallest norm is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .predictor import FloatArray, ones_unless


@dataclass(frozen=True)
class Linear:
    """A fitted linear model."""

    mean: float
    """Mean of the fitted scores."""
    coefficients: FloatArray
    """[sources]: score, relative to `mean`, of a mixture with only this source."""

    def predict(self, shares: FloatArray) -> FloatArray:
        """Predict the score [mixtures] of shares [mixtures, sources]."""
        return self.mean + shares @ self.coefficients

    def refit(self, shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> Linear:
        """Fit to other rows."""
        return fit_linear(shares, scores, weights)


def fit_linear(shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> Linear:
    """Fit by least squares."""
    root, mean = np.sqrt(ones_unless(weights, len(scores))), float(scores.mean())
    coefficients = np.linalg.lstsq(shares * root[:, None], (scores - mean) * root)[0]
    return Linear(mean, np.asarray(coefficients, dtype=np.float64))
