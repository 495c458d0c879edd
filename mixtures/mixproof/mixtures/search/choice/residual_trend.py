"""How the size of residuals changes with a quantity, such as the distance from the middle of a study.

    mean square = exp(level + slope · (quantity - center))

fitted as a variance: squares are chi-squared with one degree of freedom around their mean (a gamma regression).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixproof.mixtures.search.predictors.predictor import FloatArray

STEPS = 30
FARTHEST = 1.0
"""Largest change of level or slope in one step of the fit."""
SLOPE_PENALTY = 1e-9
"""Keeps the slope at 0 if the quantity does not vary."""


@dataclass(frozen=True)
class ResidualTrend:
    """A fitted trend; outside the fitted range it stays at the value at its end."""

    level: float
    slope: float
    center: float
    low: float
    high: float

    def mean_square(self, quantity: float) -> float:
        """The mean of squared residuals at this value of the quantity."""
        within = min(max(quantity, self.low), self.high)
        return float(np.exp(self.level + self.slope * (within - self.center)))


def fit_trend(quantity: FloatArray, squares: FloatArray) -> ResidualTrend | None:
    """Fit to the quantity [rows] and squared residuals [rows]; None if all residuals are 0."""
    if not squares.any():
        return None
    center = float(quantity.mean())
    rows = np.column_stack([np.ones(len(quantity)), quantity - center])
    constants = np.array([np.log(squares.mean()), 0.0])
    information = rows.T @ rows + np.diag([0.0, SLOPE_PENALTY])
    for _ in range(STEPS):
        step = np.linalg.solve(information, rows.T @ (squares * np.exp(-rows @ constants) - 1))
        constants += np.clip(step, -FARTHEST, FARTHEST)
    level, slope = constants.tolist()
    return ResidualTrend(level, slope, center, float(quantity.min()), float(quantity.max()))
