"""Racing: after each rung of a growing token budget, mixtures that are surely not the best are stopped.

At a rung, all mixtures that are left have runs of the same length with the same seeds. A mixture is stopped if

  - it is worse than the best one there, by a one-sided t test on the variance that `seed_noise` finds for their
    difference. The error is divided over all rungs and over all mixtures that could be the best (Bonferroni), so with
    the declared confidence no mixture that is the best at a rung is stopped there, over all rungs together, and
  - it is in the worse half at this rung (successive halving, Jamieson and Talwalkar 2016).

The second condition guards against curves that cross later, which no test can see; it is no proof.
`benchmarks/racing.py` measures how often the race has the winner that the full ablation has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy import stats

from .seed_noise import analyse

RUNGS = (Fraction(1, 10), Fraction(1, 5), Fraction(2, 5))
"""Parts of the full budget after which mixtures are stopped."""
CONFIDENCE = Fraction(95, 100)


@dataclass(frozen=True)
class Stop:
    """A mixture that was stopped; the fields are keys of `race.stopped` in `run --race --json`."""

    rung: int
    """Number of the rung, from 1."""
    best: str
    """The best mixture there."""
    difference: float
    """By how much it was worse."""
    needed: float
    """The difference that the test needs at this rung."""


def stopped_at(
    scores: Mapping[str, Sequence[float]], rung: int, rungs: int, mixtures: int, confidence: Fraction = CONFIDENCE
) -> dict[str, Stop]:
    """Decide which mixtures stop at a rung.

    Args:
        scores: objectives of the mixtures that are left, one for each of at least two seeds; lower is better.
        rung: its number, from 1.
        rungs: number of rungs at which mixtures may be stopped.
        mixtures: number of mixtures that started.
        confidence: over all rungs together.
    """
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    names = sorted(means, key=lambda name: (means[name], name))
    if len(names) < 2:
        return {}
    noise = analyse([scores[name] for name in names])
    seeds, error = len(scores[names[0]]), float(1 - confidence) / rungs / (mixtures - 1)
    found = {}
    for index in range(-(-len(names) // 2), len(names)):
        variance = noise.of_difference(0, index)
        needed = float(stats.t.ppf(1 - error, variance.degrees_of_freedom) * np.sqrt(2 * variance.variance / seeds))
        difference = means[names[index]] - means[names[0]]
        if difference > needed:
            found[names[index]] = Stop(rung, names[0], difference, needed)
    return found
