"""The noise of one run as a function of the mixture, learned from the mixtures that were run more than once.

    log variance = level + slopes · (shares - center),   slopes ~ N(0, scale²)

A few repeats say little about a variance (one repeat: within a factor of 500), but mixtures share the slopes, so that a
source whose share makes runs noisier shows in all of them. The scale of the slopes is unknown. It is averaged over a
grid by the marginal likelihood; 0 on the grid is equal noise, and 8 allows a standard deviation 50 times as large where
a source has the whole share.

For one scale the posterior is Laplace's around its mode. A variance has the degrees of freedom ν of a chi-squared
variable whose logarithm is as uncertain (2/ν); with a scale of 0 these are the usual pooled variance and its degrees
of freedom. Away from the repeated mixtures ν falls towards 1, so intervals there are wider.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixproof.mixtures.search.predictors.predictor import FloatArray

LEAST_REPEATED = 3
"""Repeated mixtures below which the noise is taken as equal."""
SCALES = (0.0, 2.0, 4.0, 8.0)
"""Of log variances, by a whole share; each is equally likely beforehand."""
STEPS = 100
FARTHEST = 1.0
"""Largest change of a log variance in one step of the fit."""
LEAST_DEGREES = 1.0
MISMATCH = 2.0
"""Ratio of the largest to the smallest deviation among the mixtures from which predictors are fitted with weights."""


@dataclass(frozen=True)
class MixtureNoise:
    """A fitted model of the variance of one run."""

    center: FloatArray
    """[sources]: mean of the repeated mixtures."""
    weights: FloatArray
    """[scales], posterior; they sum to 1."""
    modes: FloatArray
    """[scales, 1 + sources]: level and slopes."""
    covariances: FloatArray
    """[scales, 1 + sources, 1 + sources]"""

    def log_variance(self, shares: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and variance [mixtures] of the logarithm of the variance of one run."""
        rows = _design(shares, self.center)
        means = self.modes @ rows.T
        within = np.einsum("mi,kij,mj->km", rows, self.covariances, rows)
        mean = self.weights @ means
        return mean, self.weights @ (within + (means - mean) ** 2)

    def deviation(self, shares: FloatArray) -> FloatArray:
        """Standard deviation [mixtures] of one run, of shares [mixtures, sources]."""
        return np.asarray(np.exp(self.log_variance(shares)[0] / 2), np.float64)

    def degrees_of_freedom(self, shares: FloatArray) -> FloatArray:
        """Degrees of freedom [mixtures] of these deviations."""
        return np.maximum(LEAST_DEGREES, 2 / self.log_variance(shares)[1])

    def differs(self, shares: FloatArray) -> bool:
        """Whether the noise of these mixtures differs so much that it matters for a fit."""
        found = self.deviation(shares)
        return bool(found.max() > MISMATCH * found.min())


@dataclass(frozen=True)
class Weighting:
    """Weights of rows: one over the variance of a score around a prediction."""

    noise: MixtureNoise
    misfit: float
    """Variance of the prediction's own error."""

    def weights(self, shares: FloatArray) -> FloatArray:
        """Weights [mixtures] of shares [mixtures, sources], with a mean of 1."""
        found = 1 / (self.noise.deviation(shares) ** 2 + self.misfit)
        return np.asarray(found / found.mean(), np.float64)


def fit_mixture_noise(shares: FloatArray, scores: FloatArray) -> MixtureNoise | None:
    """Fit to the repeats among some runs; None if fewer than `LEAST_REPEATED` mixtures were repeated.

    Args:
        shares: [rows, sources]; rows of one mixture are its repeats.
        scores: [rows].
    """
    mixtures, mixture = np.unique(shares, axis=0, return_inverse=True)
    mixture = mixture.ravel()
    counts = np.bincount(mixture)
    means = np.bincount(mixture, weights=scores) / counts
    squares = np.bincount(mixture, weights=(scores - means[mixture]) ** 2)
    repeated = counts > 1
    if repeated.sum() < LEAST_REPEATED or not squares[repeated].any():
        return None
    degrees, center = np.asarray(counts[repeated] - 1.0, np.float64), mixtures[repeated].mean(axis=0)
    rows = _design(mixtures[repeated], center)
    observed = np.asarray(squares[repeated], np.float64)
    fits = [_fit(rows, observed, degrees, scale) for scale in SCALES]
    evidence = np.array([one[0] for one in fits])
    weights = np.exp(evidence - evidence.max())
    modes, covariances = (np.array([one[place] for one in fits]) for place in (1, 2))
    return MixtureNoise(center, weights / weights.sum(), modes, covariances)


def misfit_variance(residuals: FloatArray, deviations: FloatArray) -> float:
    """Variance of a prediction's own error, from residuals [rows] that also have the noise of one run in them.

    Rows count by the precision with which their squared residual shows it.
    """
    squares, noise = residuals**2, deviations**2
    precision = 1 / (noise + np.median(squares) + np.finfo(float).tiny) ** 2
    return max(0.0, float(np.average(squares - noise, weights=precision)))


def _design(shares: FloatArray, center: FloatArray) -> FloatArray:
    return np.hstack([np.ones((len(shares), 1)), shares - center])


def _fit(
    rows: FloatArray, squares: FloatArray, degrees: FloatArray, scale: float
) -> tuple[float, FloatArray, FloatArray]:
    """Log marginal likelihood, mode and covariance for one scale of the slopes."""
    sources = rows.shape[1] - 1
    mode = np.zeros(1 + sources)
    mode[0] = np.log(squares.sum() / degrees.sum())
    if scale == 0:
        covariance = np.zeros((1 + sources, 1 + sources))
        covariance[0, 0] = 2 / degrees.sum()
        return _log_likelihood(mode, rows, squares, degrees) + 0.5 * float(np.log(covariance[0, 0])), mode, covariance
    penalty = np.diag([0.0, *[scale**-2] * sources])
    information = 0.5 * (rows * degrees[:, None]).T @ rows + penalty
    covariance = np.asarray(np.linalg.inv(information), np.float64)
    for _ in range(STEPS):
        slope = 0.5 * rows.T @ (squares * np.exp(-rows @ mode) - degrees) - penalty @ mode
        step = covariance @ slope
        largest = float(np.abs(rows @ step).max())
        mode = mode + step * min(1.0, FARTHEST / max(largest, 1e-12))
        if largest < 1e-9:
            break
    log_prior = -0.5 * float(mode @ penalty @ mode) - sources * np.log(scale)
    evidence = _log_likelihood(mode, rows, squares, degrees) + log_prior
    return evidence + 0.5 * float(np.linalg.slogdet(covariance)[1]), mode, covariance


def _log_likelihood(mode: FloatArray, rows: FloatArray, squares: FloatArray, degrees: FloatArray) -> float:
    logs = rows @ mode
    return -0.5 * float((degrees * logs + squares * np.exp(-logs)).sum())


def spread_over_noise(means: FloatArray, variances: FloatArray) -> tuple[float, float]:
    """Spread of means [mixtures] and their noise, both weighted by precision: the root of their ratio's square is F.

    Args:
        means: of the mixtures.
        variances: [mixtures], of these means.
    """
    precision = 1 / variances
    center = float(np.average(means, weights=precision))
    noise = len(means) / float(precision.sum())
    spread = float((precision * (means - center) ** 2).sum()) / (len(means) - 1) * noise
    return float(np.sqrt(spread)), float(np.sqrt(noise))
