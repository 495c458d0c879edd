"""The fit of a scaling law: robust, from many starts, and again on runs that might as well have been.

As Hoffmann et al. (2022) fit theirs: the Huber loss (δ = 10^-3) of log L against log(E + A / N^a + B / D^b), minimized
by L-BFGS from a grid of starts, over e = log E, log A, log B, a and b. Outliers beyond a tenth of a percent count by
their distance, not its square. Two things are different: log N and log D are centred, which takes most of the
correlation between scale and exponent away, and the starts share out the observed losses instead of covering all
constants.

The bootstrap draws residuals, not runs: with a dozen runs, a draw of runs often has too few sizes for a law. It adds
drawn residuals, enlarged by √(n / (n − 5)) for the five constants that were fitted, to the law's losses and fits again.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mixproof.ledger.fingerprint import derive_seed

DELTA = 1e-3
"""Residual of log L from which its distance counts, not its square."""
EXPONENTS = (0.15, 0.35, 0.7)
FLOORS = (0.3, 0.9)
"""Starts of E, as shares of the smallest loss."""
PARTS = (0.2, 0.8)
"""Starts of the share of the parameters in what is above the floor."""
SMALLEST_EXPONENT, LARGEST_EXPONENT = 1e-3, 3.0
SMALLEST_LOG_SHARE = -12.0
"""Log of the smallest share of the smallest loss that the floor may be: e^-12 is none."""
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """Where runs lie."""

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
    """[replicates, 5] fits to the law's losses with residuals drawn anew, the same ones every time."""
    size = len(residuals)
    enlarged = (residuals - residuals.mean()) * np.sqrt(size / (size - len(best)))
    law = log_losses(best, points)
    rows = np.empty((replicates, len(best)))
    for number in range(replicates):
        draw = np.random.default_rng(derive_seed("scaling", number))
        problem = _Problem(points, law + draw.choice(enlarged, size))
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
        """Constants that share out the observed losses in several ways."""
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
        """The same law about the middle of the runs."""
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
