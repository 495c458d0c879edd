"""The mixture with the lowest predicted score within the space, with an interval for that score.

The pool is Dirichlet draws and all mixtures that were run. The best five are refined by SLSQP (scipy) on the simplex
with the space's bounds and brought back to whole units. Then mixtures are drawn closer and closer to the best ones,
which helps with predictors that have steps, such as trees. Only mixtures of the space are compared, so the result
respects caps, floor and sum exactly.

The interval should contain the score of a run of that mixture in 95 of 100 cases. It combines the spread of the
prediction over predictors refitted to bootstrapped rows with the K-fold residual of the chosen predictor, which
includes the noise of a run. It does not cover scales that were not run. The ranges of the shares are over the best
mixture of each refitted predictor; wide ranges mean that the optimum is flat.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.optimize import LinearConstraint, minimize
from scipy.stats import norm

from .candidates import draw, draw_near, generator
from .predictor import FloatArray, Predictor
from .space import UNITS, Space, UnitArray, exact_shares, shares_of

POOL = 4096
STARTS = 5
NEAR_CONCENTRATIONS = (100.0, 400.0, 1600.0)
NEAR_DRAWS = 512
REPLICATES = 50
CONFIDENCE = 0.95
STEP = 1e-6
"""Step of numerical derivatives, in shares."""


@dataclass(frozen=True)
class Optimum:
    """The recommended mixture."""

    units: tuple[int, ...]
    """Units by source, in the order of the space."""
    shares: dict[str, Fraction]
    """Positive shares, exact; they sum to 1."""
    predicted: float
    low: float
    """Lower end of the 95% interval for a measured score."""
    high: float
    share_ranges: dict[str, tuple[float, float]]
    """By source, 5th and 95th percentile of its share over the optima of refitted predictors."""


def find_optimum(predictor: Predictor, space: Space, run: UnitArray, *seed: str | int) -> tuple[int, ...]:
    """Find the mixture [sources] of the space with the lowest prediction, in units.

    Args:
        predictor: predicts the score.
        space: the mixtures to consider.
        run: [mixtures, sources] more mixtures of the space to consider, in units.
        seed: names that seed the draws.
    """
    random = generator("optimum", *seed)
    pool = np.vstack([draw(space, POOL, random), space.project(space.weights(Fraction(1))[None]), run])
    pool = _best(predictor, pool, STARTS)
    smooth = space.project(np.array([_descend(predictor, space, start) for start in shares_of(pool)]))
    pool = _best(predictor, np.vstack([pool, smooth]), STARTS)
    for concentration in NEAR_CONCENTRATIONS:
        shares = np.repeat(shares_of(pool), -(-NEAR_DRAWS // len(pool)), axis=0)
        near = draw_near(space, shares, concentration, random)
        pool = _best(predictor, np.vstack([pool, near]), STARTS)
    return tuple(int(units) for units in pool[0])


def recommend(
    predictor: Predictor,
    space: Space,
    rows: tuple[FloatArray, FloatArray],
    residual_deviation: float,
    *seed: str | int,
) -> Optimum:
    """Find the optimum and the interval of its score.

    Args:
        predictor: fitted to the rows.
        space: the mixtures to consider.
        rows: shares [mixtures, sources] that were run, and their scores, as `predictor.refit` takes them.
        residual_deviation: residual of the K-fold predictions, in the unit of the score.
        seed: names that seed the draws.
    """
    shares, scores = rows
    units = find_optimum(predictor, space, _inside(space, shares), *seed)
    at = shares_of([units])
    random = generator("bootstrap", *seed)
    pool = np.vstack(
        [draw(space, NEAR_DRAWS, random), draw_near(space, np.repeat(at, NEAR_DRAWS, axis=0), 100.0, random)]
    )
    pool = np.unique(pool, axis=0)
    asked = np.vstack([at, shares_of(pool)])
    samples = [random.integers(0, len(scores), len(scores)) for _ in range(REPLICATES)]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = list(threads.map(lambda rows: predictor.refit(shares[rows], scores[rows]).predict(asked), samples))
    predictions = [float(values[0]) for values in found]
    best = [pool[int(np.argmin(values[1:]))] for values in found]
    predicted = float(predictor.predict(at)[0])
    half = float(norm.ppf((1 + CONFIDENCE) / 2) * np.hypot(np.std(predictions, ddof=1), residual_deviation))
    ends = np.percentile(shares_of(np.array(best)), [5, 95], axis=0)
    ranges = {name: (float(low), float(high)) for name, low, high in zip(space.sources, *ends, strict=True)}
    return Optimum(units, exact_shares(space.sources, units), predicted, predicted - half, predicted + half, ranges)


def _best(predictor: Predictor, pool: UnitArray, count: int) -> UnitArray:
    """Take the distinct mixtures of lowest prediction, best first."""
    different = np.unique(pool, axis=0)
    return different[np.argsort(predictor.predict(shares_of(different)), kind="stable")[:count]]


def _inside(space: Space, shares: FloatArray) -> UnitArray:
    """Project mixtures that were run into the space."""
    return np.unique(space.project(shares), axis=0)


def _descend(predictor: Predictor, space: Space, start: FloatArray) -> FloatArray:
    """Minimize the prediction from `start` [sources] on the simplex within the caps."""
    sources = len(start)
    steps = np.vstack([np.zeros(sources), STEP * np.eye(sources)])

    def value_and_gradient(shares: FloatArray) -> tuple[float, FloatArray]:
        values = predictor.predict(np.maximum(shares, 0.0) + steps)
        return float(values[0]), (values[1:] - values[0]) / STEP

    found = minimize(
        value_and_gradient,
        start,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, most / UNITS) for most in space.most_units],
        constraints=[LinearConstraint(np.ones((1, sources)), 1.0, 1.0)],
        options={"maxiter": 200, "ftol": 1e-9},
    )
    return np.maximum(np.asarray(found.x, dtype=np.float64), 0.0)
