"""The noise of every mixture at a rung of a race, from few seeds: each mixture's own variance, drawn to that of all.

All mixtures have the same seeds. What a seed gives to all of them cancels in a comparison, so it is removed first, and
a mixture's own variance is estimated from what is left (Grubbs 1948). With three seeds this has two degrees of freedom,
which alone is useless. The variances of all mixtures together show how much mixtures differ in noise, and an
empirical Bayes estimate draws each variance to the common one accordingly (Smyth 2004): the more alike they are, the
closer, up to the pooled variance with its degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, polygamma

from mixproof.mixtures.search.predictors.predictor import FloatArray

LEAST_SHARE = 0.05
"""Smallest variance of a mixture, relative to the pooled one: Grubbs' estimate can be negative."""
LEAST_RATIO = 1e-9
"""Smallest standard deviation, relative to the scores: that of rounding."""
CARRIED = 4.0
"""Degrees of freedom for which the noise at the rung before counts; noise may differ between rungs."""
MOST_PRIOR = 1e6
"""Degrees of freedom of the common variance above which all mixtures have the same one."""


@dataclass(frozen=True)
class RungNoise:
    """The common variance of runs at one rung, which the next rung starts from."""

    variance: float
    degrees: float


@dataclass(frozen=True)
class ModeratedNoise:
    """The variance of one run of every mixture, without what a seed gives to all of them."""

    variances: FloatArray
    """[mixtures]"""
    degrees: float
    """Degrees of freedom of each."""


def moderated(scores: FloatArray, before: RungNoise | None = None) -> ModeratedNoise:
    """Estimate the variance of one run of every mixture.

    Args:
        scores: [mixtures, seeds], at least two of both; all mixtures have the same seeds.
        before: the noise at the rung before, which counts as `CARRIED` degrees of freedom at most.
    """
    own, degrees = _own_variances(scores), scores.shape[1] - 1.0
    drawn, known = (own, degrees) if len(own) == 2 else _drawn_together(own, degrees)
    if before is None:
        return ModeratedNoise(drawn, known)
    carried = min(CARRIED, before.degrees)
    return ModeratedNoise((known * drawn + carried * before.variance) / (known + carried), known + carried)


def _drawn_together(own: FloatArray, degrees: float) -> tuple[FloatArray, float]:
    """Shrink variances [mixtures] toward a common one, the more the closer they are."""
    pooled_degrees = (len(own) - 1) * degrees
    logs = np.log(own) - digamma(degrees / 2) + np.log(degrees / 2)
    excess = float(logs.var(ddof=1)) - float(polygamma(1, degrees / 2))
    prior = 2 * _inverse_trigamma(excess) if excess > 0 else np.inf
    if prior > MOST_PRIOR:
        return np.full(len(own), own.mean()), pooled_degrees
    common = float(np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2)))
    drawn = (prior * common + degrees * own) / (prior + degrees)
    return np.asarray(drawn, np.float64), float(min(prior + degrees, pooled_degrees))


def _own_variances(scores: FloatArray) -> FloatArray:
    mixtures, seeds = scores.shape
    within = scores - scores.mean(axis=1, keepdims=True)
    residuals = within - within.mean(axis=0)
    squares = (residuals**2).sum(axis=1) / (seeds - 1)
    pooled = float(squares.sum()) / (mixtures - 1)
    least = max(LEAST_SHARE * pooled, (LEAST_RATIO * float(np.abs(scores).max())) ** 2, np.finfo(float).tiny)
    if mixtures == 2:  # only their difference is known
        return np.full(2, max(pooled, least))
    own = mixtures / (mixtures - 2) * (squares - pooled / mixtures)
    return np.asarray(np.maximum(own, least), np.float64)


def _inverse_trigamma(value: float) -> float:
    """The argument at which the trigamma function has this value, by Newton's method (Smyth 2004, appendix)."""
    at = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, at))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, at))
        at += step
        if abs(step) < 1e-9 * at:
            break
    return at
