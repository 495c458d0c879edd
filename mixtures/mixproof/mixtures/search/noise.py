"""Whether scores are informative: the spread between mixtures compared with the noise of one measurement.

If a mixture was run more than once, the noise is the pooled standard deviation of repeats, and the spread must exceed
it in an F test at 5%: with 64 mixtures and three degrees of freedom the variance must be 8.6 times as large, with nine
2.8 times. If at least three mixtures were repeated, the noise is a function of the mixture (`mixture_noise`), and
spread and noise weight mixtures by their precision. Without repeats the noise is the residual of the predictor's K-fold
predictions, which also includes the predictor's own error; it must be smaller than the spread. In all cases the K-fold
rank correlation must exceed the 95th percentile of chance. If a condition fails, no mixture is recommended, and the
reason says what would help.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import f, norm

from mixproof.mixtures.search.predictors.predictor import FloatArray

from .choose import Validation
from .mixture_noise import MixtureNoise, fit_mixture_noise, spread_over_noise

SIGNIFICANCE = 0.05
ROUNDING = 1e-9
"""Spread, relative to the largest score, that comes from rounding."""
LEAST_MIXTURES = 8
"""With fewer mixtures a predictor cannot be judged."""


@dataclass(frozen=True)
class Noise:
    """The spread between mixtures and the noise of one measurement."""

    spread: float
    """Standard deviation between mixtures, in the unit of the score; 0 if only rounding makes scores differ."""
    mixtures: int
    deviation: float
    """Standard deviation of one measurement."""
    degrees_of_freedom: int
    """Repeats beyond each mixture's first run; 0 for residuals."""
    kind: Literal["repeats", "residuals"]
    of_mixture: MixtureNoise | None = None
    """The noise as a function of the mixture; None if too few mixtures were repeated to fit one."""
    deviations: tuple[float, float] | None = None
    """The smallest and the largest standard deviation of one run among the mixtures, by this function."""


def measure_noise(shares: FloatArray, scores: FloatArray, validation: Validation) -> Noise:
    """Measure the noise by repeats if there are any, else by the K-fold residuals."""
    mixture = np.unique(shares, axis=0, return_inverse=True)[1].ravel()
    counts = np.bincount(mixture)
    means = np.bincount(mixture, weights=scores) / counts
    spread = float(means.std(ddof=1)) if len(means) > 1 else 0.0
    if spread <= ROUNDING * float(np.abs(means).max()):
        spread = 0.0
    degrees = len(scores) - len(means)
    of_mixture = fit_mixture_noise(shares, scores)
    if of_mixture is not None:
        own = of_mixture.deviation(np.unique(shares, axis=0))
        spread, deviation = spread_over_noise(means, own**2 / counts)
        return Noise(
            spread, len(means), deviation, degrees, "repeats", of_mixture, (float(own.min()), float(own.max()))
        )
    if degrees:
        squares = float(((scores - means[mixture]) ** 2).sum())
        return Noise(spread, len(means), float(np.sqrt(squares / degrees)), degrees, "repeats")
    return Noise(spread, len(means), validation.residual_deviation, 0, "residuals")


def refusal(noise: Noise, rank_correlation: float) -> str | None:
    """Why no mixture may be recommended; None when one may."""
    if noise.mixtures < LEAST_MIXTURES:
        return f"{noise.mixtures} mixtures are too few to judge a predictor; run at least {LEAST_MIXTURES}"
    if noise.spread == 0:
        return f"all {noise.mixtures} mixtures have the same score, so none of them is better; choose another score"
    if noise.kind == "repeats":
        needed = float(np.sqrt(f.ppf(1 - SIGNIFICANCE, noise.mixtures - 1, noise.degrees_of_freedom)))
        if noise.spread <= needed * noise.deviation:
            return (
                f"too much noise: the standard deviation is {noise.spread:.4g} between {noise.mixtures} mixtures "
                f"and {noise.deviation:.4g} between repeats of one; with {noise.degrees_of_freedom} degrees of freedom "
                f"the first must be {needed:.2f} times the second; train the proxies longer, or repeat more often"
            )
    elif noise.spread <= noise.deviation:
        return (
            f"too much noise: the standard deviation is {noise.spread:.4g} between {noise.mixtures} mixtures, "
            f"and K-fold predictions miss by {noise.deviation:.4g}; run more mixtures, or train longer"
        )
    chance = float(norm.ppf(1 - SIGNIFICANCE)) / np.sqrt(noise.mixtures - 1)
    if rank_correlation <= chance:
        return (
            f"no predictor ranks held-out mixtures reliably: the best K-fold rank correlation is "
            f"{rank_correlation:.2f}, and chance alone gives up to {chance:.2f}; run more mixtures, or train longer"
        )
    return None


@dataclass(frozen=True)
class Gain:
    """How much lower one mixture's score is than another's."""

    mean: float
    low: float
    """Lower end of the 95% interval; the gain is significant when it is above 0."""
    high: float
