"""The interface of every predictor: predict one score from shares, and refit to other rows with the same settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class Predictor(Protocol):
    """A fitted model of one score."""

    def predict(self, shares: FloatArray) -> FloatArray:
        """Predict the score [mixtures] of shares [mixtures, sources]."""
        ...

    def refit(self, shares: FloatArray, scores: FloatArray) -> Self:
        """Fit the same model to other rows, keeping the learned or chosen settings."""
        ...


Fit = Callable[[FloatArray, FloatArray], Predictor]
"""Fits a model to shares [mixtures, sources] and scores [mixtures]."""
