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


def _pooled(groups: Sequence[FloatArray]) -> tuple[float, int]:
    """Variance within groups of different sizes, and its degrees of freedom."""
    degrees = sum(len(scores) - 1 for scores in groups)
    squares = sum(float(((scores - scores.mean()) ** 2).sum()) for scores in groups)
    return squares / max(degrees, 1), degrees
