"""Estimates of a mixture's true score, from its measurements and its K-fold prediction.

The score that picked a mixture as the best one is too low on average, so it is shrunk towards a prediction that did
not see it. With the noise of a run σ known from repeats and the residual r of the predictions, the predictor's own
variance is τ² = r² - σ², and the estimate weighs n runs by τ² / (τ² + σ²/n). Without repeats it is the mean of score
and prediction.

The deviation does not trust σ. Each fraction f = σ² / r² between 0 and 1 gives an estimate and its variance; the
deviation is the root mean square distance of the truth from the reported value, over all f. Every f counts alike for
a mixture that was run once: repeats of the anchor say nothing about the noise of other mixtures. For a mixture that
was itself repeated, each f counts by its likelihood.

If three or more mixtures were repeated, σ and τ are known apart (`mixture_noise`), σ for each mixture, and a noisy
mixture with a lucky score is drawn to its prediction. The deviation is then widened by the trend of residuals with
noise, where they are larger than noise and τ explain, and by this mixture's own residual: a large one shows that its σ
or τ is larger than that of others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from .calibration import Calibration

CONFIDENCE = 0.95
FRACTIONS = ((np.arange(64) + 0.5) / 64) ** 2
"""Fractions of the squared residual that may be noise; finer near 0, where a study with little noise is."""
PRIOR = np.sqrt(FRACTIONS)
"""Weights of these points that make every fraction count alike."""
OWN_RESIDUAL = 3.0
"""A residual of this many expected squares doubles the variance, if noise is modelled for each mixture."""


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
        calibration: errors of the study at this mixture (`Calibration.at`).
    """
    residual, noise = calibration.residual, calibration.noise
    if noise is None:
        return Estimate((mean + predicted) / 2, float(np.hypot(residual, mean - predicted) / 2))
    if calibration.of_mixture is not None:
        return _with_own_noise(mean, runs, predicted, noise, calibration)
    weight = _weight(noise, runs, max(0.0, calibration.known_residual**2 - noise**2))
    value = weight * mean + (1 - weight) * predicted
    return Estimate(value, _deviation(value, mean, runs, predicted, calibration))


def _deviation(value: float, mean: float, runs: int, predicted: float, calibration: Calibration) -> float:
    """Root mean square distance of the truth from `value`, over all fractions of the residual that may be noise."""
    square = calibration.residual**2
    if square == 0:
        return abs(value - mean)
    noise, model = FRACTIONS * square / runs, (1 - FRACTIONS) * square
    shrunk = model / (model + noise)
    truth = shrunk * mean + (1 - shrunk) * predicted
    weights = PRIOR
    if runs > 1 and calibration.noise is not None:
        logs = np.log(FRACTIONS) + calibration.noise**2 / (FRACTIONS * square)
        logs = -0.5 * calibration.degrees_of_freedom * logs
        weights = PRIOR * np.exp(logs - logs.max())
    return float(np.sqrt(np.average(shrunk * noise + (truth - value) ** 2, weights=weights)))


def _with_own_noise(mean: float, runs: int, predicted: float, noise: float, calibration: Calibration) -> Estimate:
    """Estimate with the modelled noise of this mixture, which is raised as Student's t is wider than normal."""
    model = calibration.misfit
    largest = noise * float(t.ppf((1 + CONFIDENCE) / 2, calibration.degrees_of_freedom)) / quantile(two_sided=True)
    weight = _weight(noise, runs, model)
    moved = (weight - _weight(largest, runs, model)) * (mean - predicted)
    variance = weight**2 * largest**2 / runs + (1 - weight) ** 2 * model + moved**2
    expected = noise**2 / runs + model
    own = (mean - predicted) ** 2 / expected if expected > 0 else 0.0
    variance *= calibration.surplus + own / OWN_RESIDUAL
    return Estimate(weight * mean + (1 - weight) * predicted, float(np.sqrt(variance)))


def _weight(noise: float, runs: int, model: float) -> float:
    """Weight of the mean of some runs against the prediction, whose own error has the variance `model`."""
    own = noise**2 / runs
    return model / (model + own) if model + own > 0 else 1.0


def of_optimum(predicted: float, calibration: Calibration) -> Estimate:
    """Estimate the score of an optimum that was not run."""
    return Estimate(predicted + calibration.correction, calibration.optimum_deviation)
