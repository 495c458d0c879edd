"""Candidates: Dirichlet draws around the proportional shares, inside the space, no near-copies of what was run.

Half of the draws center on the proportional shares, half on their square roots, because around the former a
source of 1% is hardly ever tried. Each draw has a concentration of its own, log-uniform between a quarter of the
number of sources (most sources are left out) and eight times it (near the center), so that a round holds sparse
mixtures and full ones. A seed is derived from names, never from the clock, so the same search draws the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from .predictor import FloatArray
from .space import Space, UnitArray, distances

LEAST_CONCENTRATION = 0.25
MOST_CONCENTRATION = 8.0
"""Sum of the Dirichlet's parameters, per source."""
CENTERS = (Fraction(1), Fraction(1, 2))
"""Powers of the proportional shares."""
LEAST_DISTANCE = 0.02
"""Share that must move to make one mixture of another; less is a near-copy."""
TINY = 1e-6
DRAWS_PER_CANDIDATE = 64


def generator(*names: str | int) -> np.random.Generator:
    """Return random numbers that depend on names alone."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def draw(space: Space, count: int, random: np.random.Generator) -> UnitArray:
    """Draw mixtures [count, sources] of the space, in units."""
    centers = np.array([space.weights(power) for power in CENTERS])[np.arange(count) % len(CENTERS)]
    low, high = np.log(LEAST_CONCENTRATION), np.log(MOST_CONCENTRATION)
    concentration = len(space.sources) * np.exp(random.uniform(low, high, size=(count, 1)))
    return space.project(_dirichlet(centers * concentration, random))


def draw_near(space: Space, shares: FloatArray, concentration: float, random: np.random.Generator) -> UnitArray:
    """Draw one mixture of the space near each of some shares [mixtures, sources]; higher concentrations are nearer."""
    blurred = 0.98 * shares + 0.02 * space.weights(Fraction(1, 2))
    return space.project(_dirichlet(blurred * concentration, random))


def select(pool: UnitArray, run: UnitArray, count: int, least_distance: float = LEAST_DISTANCE) -> UnitArray:
    """Take the first mixtures of a pool that are no near-copies of what was run or of each other.

    Args:
        pool: [mixtures, sources] in units, the best first.
        run: [mixtures, sources] what was run or is already taken.
        count: mixtures to take; fewer come back where the pool does not hold so many.
        least_distance: share that must move between any two.
    """
    taken: list[int] = []
    nearest = distances(pool, run).min(axis=1, initial=np.inf)
    for place in range(len(pool)):
        if len(taken) == count:
            break
        if nearest[place] >= least_distance:
            taken.append(place)
            nearest = np.minimum(nearest, distances(pool, pool[place][None])[:, 0])
    return pool[taken]


def select_farthest(pool: UnitArray, run: UnitArray, count: int, least_distance: float = LEAST_DISTANCE) -> UnitArray:
    """Take mixtures of a pool one by one, each the farthest from all that were run or taken."""
    taken: list[int] = []
    nearest = distances(pool, run).min(axis=1, initial=np.inf)
    while len(taken) < count and len(pool):
        place = int(nearest.argmax())
        if nearest[place] < least_distance:
            break
        taken.append(place)
        nearest = np.minimum(nearest, distances(pool, pool[place][None])[:, 0])
    return pool[taken]


def explore(space: Space, count: int, run: Sequence[Sequence[int]], random: np.random.Generator) -> UnitArray:
    """Draw new mixtures [count, sources] as they come, none a near-copy; fewer where the space is too small."""
    pool = draw(space, DRAWS_PER_CANDIDATE * count, random)
    return select(pool, units_of(space, run), count)


def units_of(space: Space, mixtures: Sequence[Sequence[int]]) -> UnitArray:
    """Return mixtures as one array [mixtures, sources], also where there are none."""
    return np.array(mixtures, dtype=np.int64).reshape(-1, len(space.sources))


def _dirichlet(parameters: FloatArray, random: np.random.Generator) -> FloatArray:
    """One draw a row; by gamma draws, so that parameters may be near zero."""
    drawn = random.gamma(np.maximum(parameters, TINY))
    total = drawn.sum(axis=1, keepdims=True)
    return np.where(total > 0, drawn / np.where(total > 0, total, 1.0), parameters)
