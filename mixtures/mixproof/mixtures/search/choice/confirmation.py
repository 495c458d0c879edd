"""The finalists trained with fresh seeds: which of them is the best, and whether it is better than the anchor.

Seeds that chose a mixture flatter it, so all finalists get seeds that chose none of them. The best one is compared
with the anchor by Student's t, on the variance that `seed_noise` finds for their difference; if runs failed and the
finalists do not have the same seeds, on the variance pooled over all of them. Any of them could have been the best, so
the interval of the gain is widened for as many comparisons as there are finalists beside the anchor (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from mixproof.mixtures.search.noise import SIGNIFICANCE, Gain
from mixproof.mixtures.search.predictors.predictor import FloatArray
from mixproof.mixtures.search.seed_noise import analyse

from .finalists import Finalist


@dataclass(frozen=True)
class Confirmation:
    """A finalist and its scores with fresh seeds."""

    finalist: Finalist
    units: tuple[int, ...]
    """Units by source, in the order of the space."""
    scores: tuple[float, ...]
    """Scores of its successful runs, in the order of the seeds."""
    seeds: tuple[int, ...]
    """Seeds of these runs."""
    parts: tuple[tuple[float, ...], ...] = ()
    """Scores on the parts of the objective, of each of these runs."""

    @property
    def mean(self) -> float:
        """Mean over its runs; infinite without any."""
        return float(np.mean(self.scores)) if self.scores else float("inf")


def rank(confirmations: Sequence[Confirmation]) -> tuple[Confirmation, ...]:
    """Sort by mean score, best first; finalists whose runs all failed come last."""
    return tuple(sorted(confirmations, key=lambda one: one.mean))


def gain_over_anchor(confirmations: Sequence[Confirmation]) -> Gain | None:
    """How much lower the best finalist beside the anchor scored than the anchor; None when that is unknown."""
    anchor = next((one for one in confirmations if one.finalist.kind == "anchor" and one.scores), None)
    others = [one for one in rank(confirmations) if one.finalist.kind != "anchor" and one.scores]
    if anchor is None or not others:
        return None
    best = others[0]
    if all(one.seeds == anchor.seeds for one in others):
        noise = analyse([one.scores for one in (anchor, *others)]).of_difference(0, 1)
        variance, degrees = noise.variance, noise.degrees_of_freedom
    else:
        variance, degrees = _pooled([np.array(one.scores) for one in (anchor, *others)])
    if degrees < 1:
        return None
    deviation = float(np.sqrt(variance * (1 / len(anchor.scores) + 1 / len(best.scores))))
    half = float(t.ppf(1 - SIGNIFICANCE / (2 * len(others)), degrees)) * deviation
    mean = anchor.mean - best.mean
    return Gain(mean, mean - half, mean + half)


def traded_away(confirmations: Sequence[Confirmation], names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Parts of the objective on which the best finalist is worse than the anchor beyond their noise.

    Args:
        confirmations: in any order.
        names: of the parts.

    Returns:
        By part: how much worse the best finalist is, and the half-width of the 95% interval. Empty if the anchor is the
        best, if there are fewer than two seeds, or if the two do not have the same seeds.
    """
    ordered = [one for one in rank(confirmations) if one.scores]
    anchor = next((one for one in ordered if one.finalist.kind == "anchor"), None)
    if anchor is None or ordered[0] is anchor or ordered[0].seeds != anchor.seeds or len(anchor.seeds) < 2:
        return {}
    paired = [anchor, *(one for one in ordered if one is not anchor and one.seeds == anchor.seeds)]
    found = {}
    for index, name in enumerate(names):
        values = [[parts[index] for parts in one.parts] for one in paired]
        noise = analyse(values).of_difference(0, 1)
        half = float(t.ppf(1 - SIGNIFICANCE / 2, noise.degrees_of_freedom))
        half *= float(np.sqrt(2 * noise.variance / len(anchor.seeds)))
        worse = float(np.mean(values[1]) - np.mean(values[0]))
        if worse > half:
            found[name] = (worse, half)
    return found


def _pooled(groups: Sequence[FloatArray]) -> tuple[float, int]:
    """Variance within groups of different sizes, and its degrees of freedom."""
    degrees = sum(len(scores) - 1 for scores in groups)
    squares = sum(float(((scores - scores.mean()) ** 2).sum()) for scores in groups)
    return squares / max(degrees, 1), degrees
