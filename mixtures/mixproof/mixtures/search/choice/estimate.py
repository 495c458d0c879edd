"""Estimates of a mixture's true score, from its measurements and its K-fold prediction.

The score that picked a mixture as the best one is too low on average, so it is shrunk towards a prediction that did
not see it. With the noise of a run σ known from repeats and the residual r of the predictions, the predictor's own
variance is τ² = r² - σ², and the estimate weighs n runs by τ² / (τ² + σ²/n). Few repeats may show too little noise, and
a study that seems to have little noise is used more often. So the deviation follows from the upper 95% limit of σ, and
includes how far that limit would move the estimate. Without repeats σ is unknown, between 0 and r. The mean of score
and prediction then has the standard deviation r/2 whatever σ is, and half the difference of the two is added to it,
because the truth can be at either end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, norm

from .calibration import Calibration

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A true score with its uncertainty."""

    value: float
    deviation: float
    """Standard deviation, with the uncertainty of the noise itself."""

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval."""
        half = quantile(two_sided=True) * self.deviation
        return self.value - half, self.value + half

    def below(self, other: Estimate) -> tuple[float, float, float]:
        """How much lower this score is than another one: the mean and its 95% interval."""
        mean = other.value - self.value
        half = quantile(two_sided=True) * float(np.hypot(self.deviation, other.deviation))
        return mean, mean - half, mean + half


def quantile(two_sided: bool) -> float:
    """Normal quantile at 95% confidence."""
    return float(norm.ppf((1 + CONFIDENCE) / 2 if two_sided else CONFIDENCE))


def of_measured(mean: float, runs: int, predicted: float, calibration: Calibration) -> Estimate:
    """Estimate the score of a mixture that was run.

    Args:
        mean: mean score of its runs.
        runs: how many there are.
        predicted: K-fold prediction by predictors that did not see them.
        calibration: errors of the study.
    """
    residual, noise = calibration.residual, calibration.noise
    if noise is None:
        return Estimate((mean + predicted) / 2, float(np.hypot(residual, mean - predicted) / 2))
    weight, largest = _weight(noise, runs, residual), _upper_limit(noise, calibration)
    moved = (weight - _weight(largest, runs, residual)) * (mean - predicted)
    model = max(0.0, residual**2 - noise**2)
    variance = weight**2 * largest**2 / runs + (1 - weight) ** 2 * model + moved**2
    return Estimate(weight * mean + (1 - weight) * predicted, float(np.sqrt(variance)))


def _weight(noise: float, runs: int, residual: float) -> float:
    """Weight of the mean of some runs against the prediction."""
    own, model = noise**2 / runs, max(0.0, residual**2 - noise**2)
    return model / (model + own) if model + own > 0 else 1.0


def _upper_limit(noise: float, calibration: Calibration) -> float:
    """Upper 95% limit of the noise of one run, at most the residual."""
    degrees = calibration.degrees_of_freedom
    return min(calibration.residual, noise * float(np.sqrt(degrees / chi2.ppf(1 - CONFIDENCE, degrees))))


def of_optimum(predicted: float, calibration: Calibration) -> Estimate:
    """Estimate the score of an optimum that was not run."""
    return Estimate(predicted + calibration.correction, calibration.optimum_deviation)
