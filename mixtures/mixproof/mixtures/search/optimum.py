"""The mixture with the lowest predicted score within the space.

The pool is Dirichlet draws and all mixtures that were run. The best five are refined by SLSQP (scipy) on the simplex
with the space's bounds and brought back to whole units. Then mixtures are drawn closer and closer to the best ones,
which helps with predictors that have steps, such as trees. Only mixtures of the space are compared, so the result
respects caps, floor and sum exactly.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from scipy.optimize import LinearConstraint, minimize

from mixproof.mixtures.search.predictors.predictor import FloatArray, Predictor

from .candidates import draw, draw_near, generator
from .space import UNITS, Space, UnitArray, shares_of

POOL = 4096
STARTS = 5
NEAR_CONCENTRATIONS = (100.0, 400.0, 1600.0)
NEAR_DRAWS = 512
STEP = 1e-6
"""Step of numerical derivatives, in shares."""


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


def _best(predictor: Predictor, pool: UnitArray, count: int) -> UnitArray:
    """Take the distinct mixtures of lowest prediction, best first."""
    different = np.unique(pool, axis=0)
    return different[np.argsort(predictor.predict(shares_of(different)), kind="stable")[:count]]


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
        constraints=[LinearConstraint(factors[None], low, high) for factors, low, high in space.bounds_of_sums],
        options={"maxiter": 200, "ftol": 1e-9},
    )
    return np.maximum(np.asarray(found.x, dtype=np.float64), 0.0)
