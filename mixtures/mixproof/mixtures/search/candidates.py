"""Candidates: Dirichlet draws around the proportional shares, within the space, without near-copies of earlier runs.

Half of the draws are centered on the proportional shares, half on their square roots, because around the former a
source of 1% would hardly ever be tried. Each draw has its own concentration, log-uniform between a quarter of the
number of sources (most sources are left out) and eight times that number (close to the center), so a round contains
both sparse and full mixtures. Seeds are derived from names, never from the clock, so a search is repeatable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from mixproof.mixtures.search.predictors.predictor import FloatArray

from .space import Space, UnitArray, distances

LEAST_CONCENTRATION = 0.25
MOST_CONCENTRATION = 8.0
"""Bounds on the sum of the Dirichlet parameters, per source."""
CENTERS = (Fraction(1), Fraction(1, 2))
"""Powers of the proportional shares."""
LEAST_DISTANCE = 0.02
"""Smallest distance between two mixtures, as the share that must move; below it they are near-copies."""
TINY = 1e-6
DRAWS_PER_CANDIDATE = 64


def generator(*names: str | int) -> np.random.Generator:
    """A random generator seeded only by names."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def draw(space: Space, count: int, random: np.random.Generator) -> UnitArray:
    """Draw mixtures [count, sources] in the space, in units."""
    centers = np.array([space.weights(power) for power in CENTERS])[np.arange(count) % len(CENTERS)]
    low, high = np.log(LEAST_CONCENTRATION), np.log(MOST_CONCENTRATION)
    concentration = len(space.sources) * np.exp(random.uniform(low, high, size=(count, 1)))
    return space.project(_dirichlet(centers * concentration, random))


def draw_near(space: Space, shares: FloatArray, concentration: float, random: np.random.Generator) -> UnitArray:
    """Draw one mixture near each row of `shares` [mixtures, sources]; a higher concentration draws closer."""
    blurred = 0.98 * shares + 0.02 * space.weights(Fraction(1, 2))
    return space.project(_dirichlet(blurred * concentration, random))


def select(pool: UnitArray, run: UnitArray, count: int, least_distance: float = LEAST_DISTANCE) -> UnitArray:
    """Take the first mixtures of a pool that are not near-copies of earlier ones or of each other.

    Args:
        pool: [mixtures, sources] in units, best first.
        run: [mixtures, sources] in units, mixtures that were run or already taken.
        count: mixtures to take; fewer are returned when the pool does not have enough.
        least_distance: smallest share that must move between any two mixtures.
    """
    taken: list[int] = []
    nearest = distances(pool, run).min(axis=1, initial=np.inf)
    for row in range(len(pool)):
        if len(taken) == count:
            break
        if nearest[row] >= least_distance:
            taken.append(row)
            nearest = np.minimum(nearest, distances(pool, pool[row][None])[:, 0])
    return pool[taken]


def select_farthest(pool: UnitArray, run: UnitArray, count: int, least_distance: float = LEAST_DISTANCE) -> UnitArray:
    """Take mixtures of a pool one by one, each the farthest from all mixtures that were run or taken."""
    taken: list[int] = []
    nearest = distances(pool, run).min(axis=1, initial=np.inf)
    while len(taken) < count and len(pool):
        row = int(nearest.argmax())
        if nearest[row] < least_distance:
            break
        taken.append(row)
        nearest = np.minimum(nearest, distances(pool, pool[row][None])[:, 0])
    return pool[taken]


def explore(space: Space, count: int, run: Sequence[Sequence[int]], random: np.random.Generator) -> UnitArray:
    """Draw new mixtures [count, sources] without near-copies; fewer when the space is too small."""
    pool = draw(space, DRAWS_PER_CANDIDATE * count, random)
    return select(pool, units_of(space, run), count)


def units_of(space: Space, mixtures: Sequence[Sequence[int]]) -> UnitArray:
    """Mixtures as one array [mixtures, sources], even when there are none."""
    return np.array(mixtures, dtype=np.int64).reshape(-1, len(space.sources))


def _dirichlet(parameters: FloatArray, random: np.random.Generator) -> FloatArray:
    """One draw per row, by gamma draws, so that parameters may be close to 0."""
    drawn = random.gamma(np.maximum(parameters, TINY))
    total = drawn.sum(axis=1, keepdims=True)
    return np.where(total > 0, drawn / np.where(total > 0, total, 1.0), parameters)
