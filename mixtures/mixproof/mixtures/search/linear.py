"""Scores as a linear function of shares: what one source more costs or gives, whatever the others do.

Shares sum to 1, so the intercept lies in the coefficients. The least-squares solution of smallest norm serves
where sources outnumber mixtures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .predictor import FloatArray


@dataclass(frozen=True)
class Linear:
    """A fitted linear model."""

    mean: float
    """Of the scores it was fitted to."""
    coefficients: FloatArray
    """[sources]: score above `mean` of a mixture of nothing else."""

    def predict(self, shares: FloatArray) -> FloatArray:
        """Predict the score [mixtures] of shares [mixtures, sources]."""
        return self.mean + shares @ self.coefficients

    def refit(self, shares: FloatArray, scores: FloatArray) -> Linear:
        """Fit to other rows."""
        return fit_linear(shares, scores)


def fit_linear(shares: FloatArray, scores: FloatArray) -> Linear:
    """Fit by least squares."""
    mean = float(scores.mean())
    coefficients = np.linalg.lstsq(shares, scores - mean)[0]
    return Linear(mean, np.asarray(coefficients, dtype=np.float64))
