"""A task score as a sigmoid of a loss, the second half of a chained prediction.

    score = ceiling - (ceiling - floor) / (1 + exp(-steepness (loss - middle)))

as in Bhagia et al. (2024, "Establishing Task Scaling Laws via Compute-Efficient Model Ladders"), with one difference:
the ceiling is the perfect score (1, or 100 if scores are percentages) and not fitted. A ladder of small models hardly
shows where a score levels off, and a fitted ceiling was as low as 0.56 on a task in which a larger model scored 0.64.
On the ladder published with that paper, predicting each of its two largest sizes from the smaller ones has a mean
relative error of 0.025 over eight tasks with a fixed ceiling, 0.026 with a fitted one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import expit

Vector = NDArray[np.float64]
STEEPNESSES = (2.0, 6.0, 15.0)
"""Starting values, per range of the losses."""
MIDDLES = (-0.3, 0.1, 0.5)
"""Starting values, as fractions of the range of the losses."""
LEAST_STEEPNESS, MOST_STEEPNESS = 0.05, 100.0
FARTHEST_MIDDLE = 4.0
"""How far the middle may be outside the losses, in ranges of them."""


@dataclass(frozen=True)
class TaskLaw:
    """A fitted sigmoid."""

    ceiling: float
    floor: float
    middle: float
    steepness: float

    def predict(self, losses: Vector) -> Vector:
        """Predict the score of each loss."""
        rising = expit(-self.steepness * (np.asarray(losses, np.float64) - self.middle))
        return np.asarray(self.floor + (self.ceiling - self.floor) * rising, np.float64)

    def gradient(self, losses: Vector) -> Vector:
        """[runs, 3] derivatives of the score by floor, middle and steepness."""
        rising = expit(-self.steepness * (losses - self.middle))
        slope = (self.ceiling - self.floor) * rising * (1 - rising)
        return np.column_stack([1 - rising, slope * self.steepness, -slope * (losses - self.middle)])

    def deviation(self, losses: Vector, scores: Vector, at: float) -> float:
        """Standard deviation of the score of one run at a loss: of the fit (delta method), and of runs around it.

        Args:
            losses: [runs] to which the law was fitted.
            scores: [runs], their scores.
            at: the loss of the run.
        """
        residuals = scores - self.predict(losses)
        variance = float(residuals @ residuals) / max(1, len(scores) - 3)
        fitted, target = self.gradient(losses), self.gradient(np.array([at]))
        return float(np.sqrt(variance * (1 + (target @ np.linalg.pinv(fitted.T @ fitted) @ target.T)[0, 0])))


def fit_task_law(losses: Vector, scores: Vector, ceiling: float) -> TaskLaw:
    """Fit floor, middle and steepness by least squares, from several starts.

    Args:
        losses: [runs] of one loss that falls as the score rises.
        scores: [runs].
        ceiling: the perfect score.
    """
    smallest, extent = float(losses.min()), float(np.ptp(losses)) or 1.0
    scaled, relative = (losses - smallest) / extent, scores / ceiling
    low = np.array([-FARTHEST_MIDDLE, LEAST_STEEPNESS, 0.0])
    high = np.array([1 + FARTHEST_MIDDLE, MOST_STEEPNESS, 1.0])

    def residuals(values: Vector) -> Vector:
        middle, steepness, floor = values
        return np.asarray(floor + (1 - floor) * expit(-steepness * (scaled - middle)) - relative, np.float64)

    lowest = float(np.clip(relative.min(), 1e-3, 0.99))
    starts = [np.array([middle, steepness, lowest]) for middle, steepness in product(MIDDLES, STEEPNESSES)]
    fits = [least_squares(residuals, np.clip(one, low + 1e-6, high - 1e-6), bounds=(low, high)) for one in starts]
    middle, steepness, floor = min(fits, key=lambda fit: float(fit.cost)).x
    return TaskLaw(ceiling, float(ceiling * floor), float(smallest + extent * middle), float(steepness / extent))
