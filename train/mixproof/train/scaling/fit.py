"""The fit of a scaling law: a robust loss, minimized from many starts, and a residual bootstrap.

As in Hoffmann et al. (2022), the Huber loss (δ = 10^-3) of log L against log(E + A / N^a + B / D^b) is minimized by
L-BFGS from a grid of starts, over log E, log A, log B, a and b; beyond 0.1%, residuals count linearly. There are two
differences: log N and log D are centred, which removes most of the correlation between scale and exponent, and the
starts split the observed losses into floor and power terms instead of covering the range of all constants.

The bootstrap resamples residuals, not runs, because with a dozen runs a resample of runs often has too few sizes for a
law. Residuals are inflated by √(n / (n − 5)) for the five fitted constants, added to the law's losses, and refitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mixproof.ledger.fingerprint import derive_seed

DELTA = 1e-3
"""Residual of log L above which the Huber loss is linear."""
EXPONENTS = (0.15, 0.35, 0.7)
FLOORS = (0.3, 0.9)
"""Starting values of E, as fractions of the smallest loss."""
PARTS = (0.2, 0.8)
"""Starting values of the parameter term, as fractions of the loss above the floor."""
SMALLEST_EXPONENT, LARGEST_EXPONENT = 1e-3, 3.0
SMALLEST_LOG_SHARE = -12.0
"""Lower bound of the floor: log of its ratio to the smallest loss. e^-12 is practically zero."""
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """Parameters and tokens of runs."""

    log_parameters: Vector
    """[runs]"""
    log_tokens: Vector
    """[runs]"""


def log_losses(constants: Vector, points: Points) -> Vector:
    """[..., runs] log of the law's loss; `constants` are [..., 5] log E, log A, log B, a, b."""
    e, big_a, big_b, small_a, small_b = np.moveaxis(constants[..., None], -2, 0)
    by_parameters = big_a - small_a * points.log_parameters
    by_tokens = big_b - small_b * points.log_tokens
    return np.asarray(np.logaddexp(np.logaddexp(e, by_parameters), by_tokens), np.float64)


def fit(points: Points, log_measured: Vector) -> Vector:
    """Fit from every start; return the best log E, log A, log B, a, b."""
    problem = _Problem(points, log_measured)
    found = [problem.minimize(start) for start in problem.starts()]
    return problem.uncentred(min(found, key=problem.objective))


def bootstrap(points: Points, best: Vector, residuals: Vector, replicates: int) -> Vector:
    """[replicates, 5] fits to the law's losses plus resampled residuals; the random numbers have a fixed seed."""
    size = len(residuals)
    inflated = (residuals - residuals.mean()) * np.sqrt(size / (size - len(best)))
    law = log_losses(best, points)
    rows = np.empty((replicates, len(best)))
    for number in range(replicates):
        draw = np.random.default_rng(derive_seed("scaling", number))
        problem = _Problem(points, law + draw.choice(inflated, size))
        rows[number] = problem.uncentred(problem.minimize(problem.centred(best)))
    return rows


class _Problem:
    """The robust loss over centred logs, and its gradient."""

    def __init__(self, points: Points, log_measured: Vector) -> None:
        self._middle = np.array([points.log_parameters.mean(), points.log_tokens.mean()])
        self._parameters = points.log_parameters - self._middle[0]
        self._tokens = points.log_tokens - self._middle[1]
        self._measured = log_measured

    def starts(self) -> list[Vector]:
        """Constants that split the observed losses into floor and power terms in several ways."""
        smallest, typical = np.exp(self._measured.min()), np.exp(np.median(self._measured))
        return [
            np.array([np.log(floor * smallest), *np.log([part * above, (1 - part) * above]), a, b])
            for floor, part, a, b in product(FLOORS, PARTS, EXPONENTS, EXPONENTS)
            for above in [max(typical - floor * smallest, 1e-3 * smallest)]
        ]

    def minimize(self, start: Vector) -> Vector:
        smallest = self._measured.min()
        bounds: list[tuple[float | None, float | None]] = [
            (float(smallest) + SMALLEST_LOG_SHARE, float(smallest)),
            (None, None),
            (None, None),
            (SMALLEST_EXPONENT, LARGEST_EXPONENT),
            (SMALLEST_EXPONENT, LARGEST_EXPONENT),
        ]
        result = minimize(
            self._value_and_gradient,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": 1000, "maxfun": 5000, "ftol": 1e-13, "gtol": 1e-8, "maxcor": 20},
        )
        return np.asarray(result.x, np.float64)

    def objective(self, constants: Vector) -> float:
        return self._value_and_gradient(constants)[0]

    def centred(self, constants: Vector) -> Vector:
        """The constants of the same law over centred logs."""
        return constants - self._shift(constants)

    def uncentred(self, constants: Vector) -> Vector:
        return constants + self._shift(constants)

    def _shift(self, constants: Vector) -> Vector:
        return np.array([0.0, *(constants[3:] * self._middle), 0.0, 0.0])

    def _value_and_gradient(self, constants: Vector) -> tuple[float, Vector]:
        e, big_a, big_b, small_a, small_b = constants
        terms = np.stack(
            [np.full(len(self._measured), e), big_a - small_a * self._parameters, big_b - small_b * self._tokens]
        )
        largest = terms.max(axis=0)
        weights = np.exp(terms - largest)
        total = weights.sum(axis=0)
        distance = (largest + np.log(total) - self._measured) / DELTA
        size = np.abs(distance)
        value = np.where(size <= 1, distance**2 / 2, size - 0.5).sum()
        slope = np.clip(distance, -1, 1) / DELTA * (weights / total)
        by_a, by_b = -(slope[1] * self._parameters).sum(), -(slope[2] * self._tokens).sum()
        return float(value), np.array([*slope.sum(axis=1), by_a, by_b])
