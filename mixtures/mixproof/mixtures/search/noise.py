"""Whether scores say anything: the spread between mixtures against the noise of one measurement.

Where a mixture was run more than once, the noise is the deviation between its repeats, pooled, and the spread must
exceed it by an F test at 5%: with three degrees of freedom and 64 mixtures that takes 8.6 times the variance, with
nine 2.8 times. Where none was, the noise is what the predictor's K-fold predictions leave, which holds its own faults
too: it must leave less than the spread. In both cases the K-fold rank correlation must be larger than chance gives
in one case of twenty. Otherwise no mixture is recommended, and the reason says what would settle it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import f, norm, t

from .choose import Validation
from .predictor import FloatArray

DOUBT = 0.05
LEAST_MIXTURES = 8
"""Fewer say nothing about a predictor."""


@dataclass(frozen=True)
class Noise:
    """What scores scatter by."""

    spread: float
    """Standard deviation between mixtures, in the unit of the score."""
    mixtures: int
    deviation: float
    """Standard deviation of one measurement."""
    degrees_of_freedom: int
    """Repeats beyond each mixture's first; 0 for residuals."""
    kind: Literal["repeats", "residuals"]


def measure_noise(shares: FloatArray, scores: FloatArray, validation: Validation) -> Noise:
    """Measure by repeats where there are any, else by what the K-fold predictions leave."""
    mixture = np.unique(shares, axis=0, return_inverse=True)[1].ravel()
    counts = np.bincount(mixture)
    means = np.bincount(mixture, weights=scores) / counts
    spread = float(means.std(ddof=1)) if len(means) > 1 else 0.0
    degrees = len(scores) - len(means)
    if degrees:
        squares = float(((scores - means[mixture]) ** 2).sum())
        return Noise(spread, len(means), float(np.sqrt(squares / degrees)), degrees, "repeats")
    return Noise(spread, len(means), validation.residual_deviation, 0, "residuals")


def refusal(noise: Noise, rank_correlation: float) -> str | None:
    """Say why no mixture may be recommended; None where one may."""
    if noise.mixtures < LEAST_MIXTURES:
        return f"{noise.mixtures} mixtures are too few to judge a predictor by; run at least {LEAST_MIXTURES}"
    if noise.kind == "repeats":
        needed = float(np.sqrt(f.ppf(1 - DOUBT, noise.mixtures - 1, noise.degrees_of_freedom)))
        if noise.spread <= needed * noise.deviation:
            return (
                f"noise swamps the spread: mixtures differ by {noise.spread:.4g} (standard deviation of "
                f"{noise.mixtures}), repeats of one by {noise.deviation:.4g}, and with "
                f"{noise.degrees_of_freedom} degrees of freedom the first must be {needed:.2f} times the second; "
                "train the proxies longer, or repeat more"
            )
    elif noise.spread <= noise.deviation:
        return (
            f"noise swamps the spread: mixtures differ by {noise.spread:.4g} (standard deviation of {noise.mixtures}), "
            f"and predictions miss what they were not fitted to by {noise.deviation:.4g}; run more mixtures, or longer"
        )
    chance = float(norm.ppf(1 - DOUBT)) / np.sqrt(noise.mixtures - 1)
    if rank_correlation <= chance:
        return (
            f"no predictor orders mixtures that it was not fitted to: the best K-fold rank correlation is "
            f"{rank_correlation:.2f}, and chance alone gives up to {chance:.2f}; run more mixtures, or longer"
        )
    return None


@dataclass(frozen=True)
class Gain:
    """How much lower one mixture scored than another, over the same seeds."""

    mean: float
    low: float
    """Lower end of the interval at 95%; the gain is sure where it is above 0."""
    high: float


def measure_gain(anchor: Sequence[float], found: Sequence[float]) -> Gain | None:
    """Compare the repeats of two mixtures by their pooled deviation (Student's t); None where nothing repeats."""
    degrees = len(anchor) + len(found) - 2
    if not anchor or not found or degrees < 1:
        return None
    squares = sum(float(((np.array(scores) - np.mean(scores)) ** 2).sum()) for scores in (anchor, found))
    deviation = np.sqrt(squares / degrees * (1 / len(anchor) + 1 / len(found)))
    half = float(t.ppf(1 - DOUBT / 2, degrees) * deviation)
    mean = float(np.mean(anchor) - np.mean(found))
    return Gain(mean, mean - half, mean + half)
