"""The interface of every predictor: predict one score from shares, and refit to other rows with the same settings."""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class Predictor(Protocol):
    """A fitted model of one score."""

    def predict(self, shares: FloatArray) -> FloatArray:
        """Predict the score [mixtures] of shares [mixtures, sources]."""
        ...

    def refit(self, shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> Self:
        """Fit the same model to other rows, keeping the learned or chosen settings."""
        ...


class Fit(Protocol):
    """Fits a model to shares [mixtures, sources] and scores [mixtures]."""

    def __call__(self, shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None, /) -> Predictor:
        """Fit; `weights` [mixtures] have a mean of 1 and say how precise each score is, None: all alike."""
        ...


def ones_unless(weights: FloatArray | None, count: int) -> FloatArray:
    """The weights, or ones."""
    return np.ones(count) if weights is None else weights
