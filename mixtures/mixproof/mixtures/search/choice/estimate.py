"""Estimates of a mixture's true score, from its measurements and its K-fold prediction.

The score that picked a mixture as the best one is too low on average, so it is shrunk towards a prediction that did
not see it. With the noise of a run σ known from repeats and the residual r of the predictions, the predictor's own
variance is τ² = r² - σ², and the estimate weighs n runs by τ² / (τ² + σ²/n). Few repeats may show too little noise, and
a study that seems to have little noise is used more often. So the deviation follows from the upper 95% limit of σ, and
includes how far that limit would move the estimate. Without repeats σ is unknown, between 0 and r. The mean of score
and prediction then has the standard deviation r/2 whatever σ is, and half the difference of the two is added to it,
because the truth can be at either end.

If three or more mixtures were repeated, σ and τ are known apart (`mixture_noise`), σ for each mixture, and a noisy
mixture with a lucky score is drawn to its prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, norm, t

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
    largest, model = _largest(noise, calibration), _model_variance(noise, calibration)
    weight = _weight(noise, runs, model)
    moved = (weight - _weight(largest, runs, _model_variance(largest, calibration))) * (mean - predicted)
    variance = weight**2 * largest**2 / runs + (1 - weight) ** 2 * model + moved**2
    return Estimate(weight * mean + (1 - weight) * predicted, float(np.sqrt(variance)))


def _weight(noise: float, runs: int, model: float) -> float:
    """Weight of the mean of some runs against the prediction, whose own error has the variance `model`."""
    own = noise**2 / runs
    return model / (model + own) if model + own > 0 else 1.0


def _model_variance(noise: float, calibration: Calibration) -> float:
    """Variance of the predictor's own error, if one run has this noise."""
    if calibration.of_mixture is not None:
        return calibration.misfit
    return max(0.0, calibration.residual**2 - noise**2)


def _largest(noise: float, calibration: Calibration) -> float:
    """The noise of one run with an allowance for not knowing it.

    The upper 95% limit, at most the residual, if all mixtures have one noise; if each has its own, which may be known
    from one repeat, as much more as Student's t is wider than a normal distribution.
    """
    degrees = calibration.degrees_of_freedom
    if calibration.of_mixture is not None:
        return noise * float(t.ppf((1 + CONFIDENCE) / 2, degrees)) / quantile(two_sided=True)
    return min(calibration.residual, noise * float(np.sqrt(degrees / chi2.ppf(1 - CONFIDENCE, degrees))))


def of_optimum(predicted: float, calibration: Calibration) -> Estimate:
    """Estimate the score of an optimum that was not run."""
    return Estimate(predicted + calibration.correction, calibration.optimum_deviation)
