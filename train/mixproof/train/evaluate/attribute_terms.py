"""Scores of rated answers: error and rank correlation of each attribute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mixproof.train.score_record import AttributeScore


@dataclass(frozen=True)
class AttributeTerms:
    """Predicted and given ratings; all arrays are [documents, attributes]."""

    names: tuple[str, ...]
    rated: NDArray[np.float64]
    """Given ratings; NaN where absent."""
    predicted: NDArray[np.float64]

    @property
    def squared_errors(self) -> NDArray[np.float64]:
        """Squared error of each; NaN where absent."""
        return (self.predicted - self.rated) ** 2

    def scores(self) -> dict[str, AttributeScore]:
        """Return the scores of each attribute that some answer is rated by."""
        found = {}
        for number, name in enumerate(self.names):
            present = np.isfinite(self.rated[:, number])
            rated, predicted = self.rated[present, number], self.predicted[present, number]
            if not len(rated):
                continue
            varies = len(np.unique(rated)) > 1 and len(np.unique(predicted)) > 1
            rank = float(stats.spearmanr(rated, predicted).statistic) if varies else None
            found[name] = AttributeScore(
                answers=len(rated),
                mean_squared_error=float(np.mean((predicted - rated) ** 2)),
                mean_absolute_error=float(np.mean(np.abs(predicted - rated))),
                rank_correlation=rank,
                calibration_slope=_slope(predicted, rated),
            )
        return found

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """Return the columns of `scores.parquet`."""
        parts = (("attribute", self.rated), ("predicted", self.predicted))
        return {f"{part}.{name}": values[:, n] for part, values in parts for n, name in enumerate(self.names)}


def _slope(predicted: NDArray[np.float64], rated: NDArray[np.float64]) -> float | None:
    """Return the slope of the least-squares line of ratings on predictions; None if all predictions are equal."""
    centered = predicted - predicted.mean()
    squares = float(centered @ centered)
    return float(centered @ rated) / squares if squares else None
