"""What every predictor does: from shares to one score, and fitted again to other rows with the same settings."""

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
        """Fit the same model, with the settings that were learned or chosen, to other rows."""
        ...


Fit = Callable[[FloatArray, FloatArray], Predictor]
"""Shares [mixtures, sources] and scores [mixtures] to a fitted model."""
