"""A Gaussian process over mixture and size: the effect of a mixture may itself change with size.

    score(mixture, size) = base(mixture) + sum_j term_j(size) · change_j(mixture) + noise

base and every change_j are Gaussian processes on logarithms of shares, with the covariance that a Gaussian process
learns from the runs of the size with most runs (`predictors/gaussian_process.py`). How large the changes are, the
exponents of the terms and the noise maximize the marginal likelihood, with broad log-normal priors. Mixture and size do
not separate here either: Shukor et al. 2025 (arXiv:2507.09404) give joint laws with this structure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from mixproof.mixtures.search.predictors.gaussian_process import Settings, covariance, fit_gaussian_process
from mixproof.mixtures.search.predictors.predictor import FloatArray

from .sizes import Sizes

MAX_ROWS_FOR_SETTINGS = 400
CONSTANT = 100.0
"""Prior variance of the mean of the base and of every change, for scores of unit variance."""
CHANGE, NOISE, EXPONENT = 0.1, 0.01, 0.3
"""Medians of the priors."""
CHANGE_SPREAD, NOISE_SPREAD, EXPONENT_SPREAD = 2.0, 2.0, 0.2
"""Standard deviations of the logarithms under the priors."""
MAX_STEPS = 120
LEAST_VARIANCE = 1e-6
"""Of the noise at a size whose scores hardly differ, relative to the size where they differ most."""
JITTER = 1e-8
"""Further variance of a run: without noise, rounding errors make a covariance of up to a few hundred singular."""


@dataclass(frozen=True)
class JointSettings:
    """Hyperparameters, for scores whose variance at the largest size is 1."""

    mixture: Settings
    """Of the covariance between mixtures."""
    change: float
    """Variance of a change, relative to that of the base."""
    noise: float
    """Variance of one run, relative to the variance between mixtures at its size."""
    exponents: FloatArray
    """[terms]"""


@dataclass(frozen=True)
class Rows:
    """Runs of several sizes."""

    shares: FloatArray
    """[rows, sources]"""
    sizes: Sizes
    scores: FloatArray
    """[rows]"""

    def of(self, rows: NDArray[np.int64]) -> Rows:
        """Some of the runs."""
        return Rows(self.shares[rows], self.sizes.of(rows), self.scores[rows])


@dataclass(frozen=True)
class JointProcess:
    """A fitted process."""

    settings: JointSettings
    terms: tuple[int, ...]
    """Columns of sizes that have a term."""
    largest: FloatArray
    """[terms]: logarithm of the size at which a term is 1."""
    mean: float
    scale: float
    center: FloatArray
    """[sources]: mean logarithms, subtracted before prediction."""
    rows: tuple[FloatArray, FloatArray]
    """Centered logarithms of shares [rows, sources] and relative logarithms of sizes [rows, terms]."""
    weights: FloatArray
    """[rows]"""

    def predict(self, shares: FloatArray, sizes: FloatArray) -> FloatArray:
        """Predict scores [mixtures].

        Args:
            shares: [mixtures, sources].
            sizes: [mixtures, names], as in `Sizes.values`.
        """
        logs = np.log(shares + self.settings.mixture.offset) - self.center
        relative = np.log(sizes[:, list(self.terms)]) - self.largest
        found = _covariance((logs, relative), self.rows, self.settings) @ self.weights
        return np.asarray(self.mean + self.scale * found, np.float64)

    def refit(self, rows: Rows) -> JointProcess:
        """Fit to other runs with the same settings, terms and scale."""
        logs = np.log(rows.shares + self.settings.mixture.offset) - self.center
        relative = np.log(rows.sizes.values[:, list(self.terms)]) - self.largest
        residuals = (rows.scores - self.mean) / self.scale
        total = _with_noise((logs, relative), self.settings, _spread(rows.sizes, residuals))
        weights = cho_solve(cho_factor(total, lower=True, overwrite_a=True), residuals)
        return JointProcess(
            self.settings, self.terms, self.largest, self.mean, self.scale, self.center, (logs, relative), weights
        )


def fit_joint(rows: Rows) -> JointProcess:
    """Fit to runs of at least two sizes."""
    sizes, group = rows.sizes, _groups(rows.sizes)
    most = group == np.bincount(group).argmax()
    mixture = fit_gaussian_process(rows.shares[most], rows.scores[most]).settings
    at_largest = rows.scores[group == group.max()]
    mean, scale = float(at_largest.mean()), float(at_largest.std()) or 1.0
    logs = np.log(rows.shares + mixture.offset)
    relative = np.log(sizes.values[:, list(sizes.terms)]) - sizes.largest
    step = -(-len(logs) // MAX_ROWS_FOR_SETTINGS)
    residuals, center = (rows.scores - mean) / scale, logs.mean(axis=0)
    some = (logs - center)[::step], relative[::step]
    settings = _learn(mixture, some, residuals[::step], _spread(sizes, residuals)[::step])
    empty = np.zeros(0)
    start = JointProcess(settings, sizes.terms, sizes.largest, mean, scale, center, (empty, empty), empty)
    return start.refit(rows)


def _learn(
    mixture: Settings, rows: tuple[FloatArray, FloatArray], residuals: FloatArray, spread: FloatArray
) -> JointSettings:
    """Maximize the posterior of change, noise and exponents."""
    terms = rows[1].shape[1]
    medians = np.log(np.array([CHANGE, NOISE, *[EXPONENT] * terms]))
    spreads = np.array([CHANGE_SPREAD, NOISE_SPREAD, *[EXPONENT_SPREAD] * terms])

    def settings_of(logs: FloatArray) -> JointSettings:
        change, noise, *exponents = np.exp(logs).tolist()
        return JointSettings(mixture, change, noise, np.array(exponents))

    def negative_log(logs: FloatArray) -> float:
        off = (logs - medians) / spreads
        try:
            factor = cho_factor(_with_noise(rows, settings_of(logs), spread), lower=True, overwrite_a=True)
        except np.linalg.LinAlgError:
            return float("inf")
        fit = 0.5 * float(residuals @ cho_solve(factor, residuals))
        return fit + float(np.log(np.diag(factor[0])).sum()) + 0.5 * float(off @ off)

    found = minimize(negative_log, medians, method="Nelder-Mead", options={"maxiter": MAX_STEPS, "fatol": 0.01})
    return settings_of(found.x)


def _groups(sizes: Sizes) -> NDArray[np.int64]:
    """The number of each row's size [rows], ascending."""
    return np.asarray(np.unique(sizes.values, axis=0, return_inverse=True)[1].ravel(), np.int64)


def _spread(sizes: Sizes, scores: FloatArray) -> FloatArray:
    """The variance of scores at each row's size [rows]."""
    group = _groups(sizes)
    variances = np.array([scores[group == number].var() for number in range(int(group.max()) + 1)])
    return np.asarray(np.maximum(variances, LEAST_VARIANCE * variances.max())[group], np.float64)


def _with_noise(rows: tuple[FloatArray, FloatArray], settings: JointSettings, spread: FloatArray) -> FloatArray:
    total = _covariance(rows, rows, settings)
    total[np.diag_indices(len(total))] += settings.noise * spread + JITTER
    return total


def _covariance(
    first: tuple[FloatArray, FloatArray], second: tuple[FloatArray, FloatArray], settings: JointSettings
) -> FloatArray:
    """Covariance [first, second] of centered logarithms of shares and relative logarithms of sizes."""
    mixtures = covariance(first[0], second[0], settings.mixture) - 1.0
    total = mixtures + CONSTANT
    for term, exponent in enumerate(settings.exponents.tolist()):
        ends = [np.exp(-exponent * sizes[:, term]) for _, sizes in (first, second)]
        total += np.outer(*ends) * (settings.change * mixtures + CONSTANT)
    return np.asarray(total, np.float64)
