"""Predictors fitted with weights that follow from the mixtures, so that refits to other rows have them as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .predictor import Fit, FloatArray, Predictor

Weigh = Callable[[FloatArray], FloatArray]
"""Weights [mixtures] of shares [mixtures, sources], with a mean of 1."""


@dataclass(frozen=True)
class Weighted:
    """A predictor that is fitted with weights."""

    predictor: Predictor
    weigh: Weigh

    def predict(self, shares: FloatArray) -> FloatArray:
        """Predict the score [mixtures] of shares [mixtures, sources]."""
        return self.predictor.predict(shares)

    def refit(self, shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> Weighted:
        """Fit to other rows; their weights follow from their shares unless given."""
        own = self.weigh(shares) if weights is None else weights
        return Weighted(self.predictor.refit(shares, scores, own), self.weigh)


def weighted(families: Mapping[str, Fit], weigh: Weigh) -> dict[str, Fit]:
    """The same families, each fitted with these weights."""
    return {name: _with_weights(fit, weigh) for name, fit in families.items()}


def _with_weights(fit: Fit, weigh: Weigh) -> Fit:
    def fit_weighted(shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> Weighted:
        own = weigh(shares) if weights is None else weights
        return Weighted(fit(shares, scores, own), weigh)

    return fit_weighted
