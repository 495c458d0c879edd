"""A Gaussian process on logarithms of shares, with a separate length scale and slope for every source.

Covariance of two mixtures u, v (centered logs of share + offset, d sources):

    1 + sum_j slope_j u_j v_j + height * exp(-1/2 sum_j ((u_j - v_j) / length_j)^2) + noise / weight (same row)

The slopes model the trend (a loss falls roughly with the logarithm of its own source's share), the exponential the
interactions of sources. Sources that do not matter get long lengths and small slopes. The 2 d + 3 settings maximize
the posterior: marginal likelihood times broad log-normal priors, which matter when mixtures are few. The optimizer is
L-BFGS with exact gradients. A fit costs O(mixtures^3) per step, so settings are learned on at most 600 rows; the
prediction uses all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

from .predictor import FloatArray, ones_unless

MAX_ROWS_FOR_SETTINGS = 600
MAX_STEPS = 25
RELATIVE_TOLERANCE = 1e-5
SINGULAR = 1e10
"""Used in place of infinity, which the line search cannot handle."""
OFFSET, LENGTH, SLOPE, HEIGHT, NOISE = 3e-3, 8.0, 0.02, 1.0, 0.01
"""Medians of the priors for scores of unit variance; lengths are in units of the natural logarithm."""
OFFSET_SPREAD, LENGTH_SPREAD, SLOPE_SPREAD, HEIGHT_SPREAD, NOISE_SPREAD = 0.7, 1.5, 2.0, 2.0, 2.0
"""Standard deviations of the logarithms under the priors."""


@dataclass(frozen=True)
class Settings:
    """Hyperparameters, for scores of unit variance."""

    offset: float
    """Added to shares before the logarithm, so that it levels off near 0."""
    length: FloatArray
    """[sources], in units of the natural logarithm of a share."""
    slope: FloatArray
    """[sources], variances."""
    height: float
    noise: float
    """Variance between repeats, plus variance that the shares do not explain."""

    @classmethod
    def from_logs(cls, logs: FloatArray) -> Settings:
        """Read the settings from one vector [2 sources + 3] of logarithms."""
        sources = (len(logs) - 3) // 2
        values = np.exp(logs)
        return cls(
            offset=float(values[0]),
            length=values[1 : 1 + sources],
            slope=values[1 + sources : 1 + 2 * sources],
            height=float(values[-2]),
            noise=float(values[-1]),
        )


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted process."""

    settings: Settings
    mean: float
    scale: float
    """Standard deviation of the fitted scores."""
    center: FloatArray
    """[sources]: mean logarithms, subtracted before prediction."""
    rows: FloatArray
    """[mixtures, sources]: centered logarithms of the fitted mixtures."""
    weights: FloatArray
    """[mixtures]"""

    def predict(self, shares: FloatArray) -> FloatArray:
        """Predict the score [mixtures] of shares [mixtures, sources]."""
        logs = np.log(shares + self.settings.offset) - self.center
        return self.mean + self.scale * (covariance(logs, self.rows, self.settings) @ self.weights)

    def refit(self, shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> GaussianProcess:
        """Fit to other rows with the same settings."""
        return _condition(self.settings, shares, scores, ones_unless(weights, len(scores)))


def fit_gaussian_process(shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> GaussianProcess:
    """Learn the settings on at most `MAX_ROWS_FOR_SETTINGS` rows, then fit to all rows."""
    precise = ones_unless(weights, len(scores))
    count, sources = shares.shape
    step = -(-count // MAX_ROWS_FOR_SETTINGS)
    posterior = _Posterior(shares[::step], _standardized(scores[::step])[0], precise[::step])
    lowest = np.concatenate([[np.log(1e-4)], np.full(sources, -2.0), np.full(sources, -14.0), [-8.0, -10.0]])
    highest = np.concatenate([[np.log(0.1)], np.full(sources, 8.0), np.full(sources, 3.0), [6.0, 0.0]])
    found = minimize(
        posterior.negative_log,
        posterior.median,
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(lowest, highest, strict=True)),
        options={"maxiter": MAX_STEPS, "ftol": RELATIVE_TOLERANCE},
    )
    return _condition(Settings.from_logs(found.x), shares, scores, precise)


def _condition(settings: Settings, shares: FloatArray, scores: FloatArray, weights: FloatArray) -> GaussianProcess:
    standardized, mean, scale = _standardized(scores)
    logs = np.log(shares + settings.offset)
    center = logs.mean(axis=0)
    rows = logs - center
    total = covariance(rows, rows, settings)
    total[np.diag_indices(len(rows))] += settings.noise / weights
    solved = cho_solve(cho_factor(total, lower=True, overwrite_a=True), standardized)
    return GaussianProcess(settings, mean, scale, center, rows, solved)


def _standardized(scores: FloatArray) -> tuple[FloatArray, float, float]:
    mean, scale = float(scores.mean()), float(scores.std()) or 1.0
    return (scores - mean) / scale, mean, scale


def covariance(first: FloatArray, second: FloatArray, settings: Settings) -> FloatArray:
    """Covariance [first, second] of centered logarithms of shares, without noise."""
    near = settings.height * np.exp(-0.5 * _distances(first / settings.length, second / settings.length))
    return near + (first * settings.slope) @ second.T + 1.0


def _distances(first: FloatArray, second: FloatArray) -> FloatArray:
    """Squared distances between every row of `first` and every row of `second`."""
    products = first @ second.T
    products *= -2.0
    products += (first**2).sum(axis=1)[:, None]
    products += (second**2).sum(axis=1)
    return np.maximum(products, 0.0, out=products)


class _Posterior:
    """The negative log posterior of the settings and its gradient, as functions of one vector of logarithms."""

    def __init__(self, shares: FloatArray, scores: FloatArray, weights: FloatArray) -> None:
        sources = shares.shape[1]
        self._shares, self._scores, self._weights = shares, scores, weights
        medians = [OFFSET, *[LENGTH] * sources, *[SLOPE] * sources, HEIGHT, NOISE]
        spreads = [OFFSET_SPREAD, *[LENGTH_SPREAD] * sources, *[SLOPE_SPREAD] * sources, HEIGHT_SPREAD, NOISE_SPREAD]
        self.median = np.log(np.array(medians))
        self._spread = np.array(spreads)

    def negative_log(self, logs: FloatArray) -> tuple[float, FloatArray]:
        """Return the value (`SINGULAR` when the covariance is singular) and the gradient [2 sources + 3]."""
        settings = Settings.from_logs(logs)
        moved = np.log(self._shares + settings.offset)
        rows = moved - moved.mean(axis=0)
        scaled = rows / settings.length
        near = _distances(scaled, scaled)
        near *= -0.5
        np.exp(near, out=near)
        near *= settings.height
        covariance = near + (rows * settings.slope) @ rows.T + 1.0
        covariance[np.diag_indices(len(rows))] += settings.noise / self._weights
        factor, failed = dpotrf(covariance, lower=1, overwrite_a=1)
        if failed:
            return SINGULAR, np.zeros_like(logs)
        half_log_determinant = float(np.log(np.diag(factor)).sum())
        inverse = _symmetric(dpotri(factor, lower=1, overwrite_c=1)[0])
        weights = inverse @ self._scores
        likelihood = 0.5 * float(self._scores @ weights) + half_log_determinant
        by_covariance = 0.5 * (inverse - np.outer(weights, weights))
        gradient = self._gradient(settings, rows, near, by_covariance)
        off = (logs - self.median) / self._spread
        return likelihood + 0.5 * float(off @ off), gradient + off / self._spread

    def _gradient(
        self, settings: Settings, rows: FloatArray, near: FloatArray, by_covariance: FloatArray
    ) -> FloatArray:
        """Chain `by_covariance`, the derivative by every entry of the covariance, to the logarithms of the settings."""
        scaled = rows / settings.length
        by_near = by_covariance * near
        total = by_near.sum(axis=1)
        pulled = by_near @ scaled
        by_length = 2.0 * (total @ scaled**2 - (scaled * pulled).sum(axis=0))
        pulled_flat = by_covariance @ rows
        by_slope = settings.slope * (rows * pulled_flat).sum(axis=0)
        by_rows = 2.0 * settings.slope * pulled_flat - 2.0 * (total[:, None] * scaled - pulled) / settings.length
        moves = settings.offset / (self._shares + settings.offset)
        by_offset = float((by_rows * (moves - moves.mean(axis=0))).sum())
        by_noise = settings.noise * float((np.diag(by_covariance) / self._weights).sum())
        return np.concatenate([[by_offset], by_length, by_slope, [float(total.sum()), by_noise]])


def _symmetric(lower: FloatArray) -> FloatArray:
    """Mirror the lower triangle of a matrix, whose upper one is zero, into its upper triangle."""
    whole = lower + lower.T
    whole[np.diag_indices(len(lower))] = np.diag(lower)
    return whole
