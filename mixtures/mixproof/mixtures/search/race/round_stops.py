"""Racing in a round of a search, where every candidate has one seed.

Candidates are compared at a rung with all mixtures that have a score there with the same seed: those of this round that
are left, those of earlier rounds, and the anchor. The noise is that of the mixtures that have repeats at this rung. Two
or more mixtures with the same two seeds show it without what a seed gives to all; the anchor alone shows both together,
which is too large for a comparison and therefore on the safe side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from mixproof.mixtures.search.space import Units

from .moderated_noise import CARRIED, RungNoise, moderated
from .stops import CONFIDENCE, worst_rejected


@dataclass(frozen=True)
class RoundRace:
    """When candidates may stop."""

    rungs: tuple[Fraction, ...]
    """Parts of the full budget, ascending, below 1."""
    confidence: Fraction = CONFIDENCE
    """Over all rungs together."""


@dataclass(frozen=True)
class CandidateStop:
    """A candidate that was stopped."""

    units: Units
    rung: int
    """Number of the rung, from 1."""
    score: float
    """Its objective at this rung."""
    difference: float
    """By how much it was worse than the best mixture at this rung."""
    p_value: float
    """Of the hypothesis that it is the best."""


def noise_of_repeats(scores: Mapping[Units, Mapping[int, float]], before: RungNoise | None = None) -> RungNoise | None:
    """The noise of one run at a rung; None without repeats.

    Args:
        scores: by mixture and seed.
        before: the noise at the rung before, which counts as `CARRIED` degrees of freedom at most.
    """
    repeated = [own for own in scores.values() if len(own) > 1]
    if not repeated:
        return before
    seeds = sorted(set.intersection(*[set(own) for own in repeated]))
    if len(repeated) > 1 and len(seeds) > 1:
        found = moderated(np.array([[own[seed] for seed in seeds] for own in repeated]), before)
        return RungNoise(float(found.variances.mean()), found.degrees)
    most = max(repeated, key=len)
    variance, degrees = float(np.var(list(most.values()), ddof=1)), len(most) - 1.0
    if before is None:
        return RungNoise(variance, degrees)
    carried = min(CARRIED, before.degrees)
    return RungNoise((degrees * variance + carried * before.variance) / (degrees + carried), degrees + carried)


def stopped_candidates(
    scores: Mapping[Units, float], racing: Sequence[Units], noise: RungNoise, rung: int, race: RoundRace
) -> list[CandidateStop]:
    """Decide which candidates of a round stop at a rung, the worst first.

    Args:
        scores: of all mixtures with a score at this rung, with one seed each; lower is better.
        racing: candidates of this round that are left; all have a score.
        noise: of one run at this rung.
        rung: its number, from 1.
        race: all rungs, and the confidence.
    """
    if len(scores) < 2:
        return []
    mixtures, means = list(scores), np.array(list(scores.values()), np.float64)
    row_of = {units: row for row, units in enumerate(mixtures)}
    variances = np.full(len(means), max(noise.variance, np.finfo(float).tiny))
    rows = np.array([row_of[units] for units in racing], np.int64)
    found = worst_rejected(means, variances, noise.degrees, rows, (rung, race.rungs, race.confidence))
    best = float(means.min())
    return [CandidateStop(mixtures[row], rung, float(means[row]), float(means[row]) - best, p) for row, p in found]
