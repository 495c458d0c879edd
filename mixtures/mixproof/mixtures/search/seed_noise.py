"""The noise of seeds when all mixtures have the same seeds: what they share cancels in a difference.

The same seed means the same initial weights and the same order of windows. With M mixtures and k seeds

    score = mixture + seed + interaction,   F = MS(seed) / MS(interaction)

with k - 1 and (M - 1)(k - 1) degrees of freedom (two-way analysis of variance). If F is significant at 1%, seeds shift
all mixtures alike, and a difference is judged on the interaction; else on the variance between seeds pooled over
mixtures, which has M(k - 1) degrees of freedom.

Both variances are means over mixtures, which misleads when one mixture is much noisier than the others. So the
difference of two mixtures is judged on its own k paired differences (k - 1 degrees of freedom) if Bartlett's test finds
unequal noise, or if their own variance is above that of the interaction in an F test. Both tests have a level of 40%,
because they only choose a variance: missing unequal noise costs coverage, seeing it wrongly costs width. With two
mixtures no third one shows what is usual, so the pooled variance has Welch's degrees of freedom.

The mean of a mixture is judged on its own k scores. Pooling would need equal noise, and seeds that shift all mixtures
alike, because then the variances of mixtures are copies of each other and not independent.

`benchmarks/paired_seeds.py` simulates the coverage of the 95% intervals. With two to eight mixtures, one of them up to
25 times as noisy as the others, a shift of any size and three or more seeds, intervals of differences cover 93% to 98%
and those of means 95%; with two seeds differences cover 92% to 98%.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHIFT_LEVEL = 0.01
UNEQUAL_LEVEL = 0.4
LEAST_RATIO = 1e-6
"""Of a standard deviation to the one between seeds; a smaller one comes from rounded scores and is not believed."""


@dataclass(frozen=True)
class SeedVariance:
    """Variance of a score between seeds; a difference of two means of k seeds has 2/k of it."""

    variance: float
    degrees_of_freedom: float
    """0 if every mixture has one seed, and then `variance` is meaningless."""


@dataclass(frozen=True)
class SeedEffect:
    """What all mixtures share of a seed's effect; the fields are keys of `seed_effect` in `compare --json`."""

    p_value: float
    """Of the hypothesis that seeds do not shift all mixtures equally."""
    common: bool
    """Whether they do, so that differences are judged on the interaction of mixture and seed."""
    interaction_deviation: float
    """Standard deviation of the interaction, for one run."""
    degrees_of_freedom: int


@dataclass(frozen=True)
class UnequalNoise:
    """Whether mixtures differ in noise; the fields are keys of `unequal_noise` in `compare --json`."""

    p_value: float
    """Of the hypothesis that the noise of all mixtures is equal (Bartlett's test)."""
    unequal: bool
    """Whether every difference is judged on its own paired differences."""
    deviations: tuple[float, ...]
    """Standard deviation between seeds of every mixture."""


@dataclass(frozen=True)
class SeedNoise:
    """The analysis of scores [mixtures, seeds]; all mixtures have the same seeds."""

    values: NDArray[np.float64]
    pooled: SeedVariance
    """Between seeds, over all mixtures."""
    effect: SeedEffect | None
    """None below two mixtures or two seeds."""
    unequal: UnequalNoise | None
    """None below two mixtures or two seeds."""

    @property
    def shared(self) -> SeedVariance:
        """The variance of differences if no mixture is found to be noisier than the others."""
        if self.effect is not None and self.effect.common:
            return SeedVariance(self.effect.interaction_deviation**2, self.effect.degrees_of_freedom)
        return _with_welch_degrees(self.values, self.pooled) if len(self.values) == 2 else self.pooled

    def of_difference(self, first: int, second: int) -> SeedVariance:
        """The variance on which the difference of two mixtures, given by their rows, is judged."""
        if self.effect is None or self.unequal is None:
            return self.pooled
        own = _paired(self.values[first], self.values[second])
        if own.variance <= LEAST_RATIO**2 * self.pooled.variance:
            return self.shared
        return own if self.unequal.unequal or _is_larger(own, self.effect) else self.shared

    def in_words(self, mixtures: Sequence[str]) -> str | None:
        """What differs from equal and independent noise, if anything does; names of the mixtures in row order."""
        if self.effect is None or self.unequal is None:
            return None
        if self.unequal.unequal:
            order = np.argsort(self.unequal.deviations)
            low, high = (f"{self.unequal.deviations[at]:.2g} ({mixtures[at]})" for at in (order[0], order[-1]))
            return (
                f"mixtures may differ in noise (p = {self.unequal.p_value:.2g}): standard deviations between seeds "
                f"from {low} to {high}; each difference is judged on the paired differences of its two mixtures alone"
            )
        if self.effect.common:
            own, whole = self.effect.interaction_deviation, np.sqrt(self.pooled.variance)
            return (
                f"seeds shift all mixtures equally (p = {self.effect.p_value:.2g}), so differences are judged on the "
                f"interaction of mixture and seed, with a standard deviation of {own:.2g} instead of {whole:.2g}"
            )
        return None

    def of_mean(self, mixture: int) -> SeedVariance:
        """The variance on which the mean of one mixture, given by its row, is judged."""
        own = pool([self.values[mixture]])
        return own if own.variance > LEAST_RATIO**2 * self.pooled.variance else self.pooled


def analyse(values: Sequence[Sequence[float]]) -> SeedNoise:
    """Analyse scores [mixtures][seeds]; every mixture has the same seeds, in the same order."""
    table = np.asarray(values, np.float64)
    pooled = pool(values)
    mixtures, seeds = table.shape
    if mixtures < 2 or seeds < 2:
        return SeedNoise(table, pooled, None, None)
    within = table - table.mean(axis=1, keepdims=True)
    interaction = within - within.mean(axis=0)
    p_value = min(_bartlett(within), _bartlett(interaction))
    deviations = tuple(float(one) for one in table.std(axis=1, ddof=1))
    unequal = UnequalNoise(p_value, p_value < UNEQUAL_LEVEL, deviations)
    return SeedNoise(table, pooled, _effect(within, interaction), unequal)


def pool(values: Sequence[Sequence[float]] | Sequence[NDArray[np.float64]]) -> SeedVariance:
    """Pool the variance between seeds of scores [mixtures][seeds], the same number of seeds for each mixture."""
    table = np.asarray(values, np.float64)
    degrees = table.shape[0] * (table.shape[1] - 1)
    squares = float(((table - table.mean(axis=1, keepdims=True)) ** 2).sum())
    return SeedVariance(squares / degrees if degrees else 0.0, degrees)


def _effect(within: NDArray[np.float64], interaction: NDArray[np.float64]) -> SeedEffect:
    from scipy import stats  # here, because it takes 0.5 s, which `plan` need not spend

    mixtures, seeds = within.shape
    degrees = (mixtures - 1) * (seeds - 1)
    of_interaction = float((interaction**2).sum()) / degrees
    of_seeds = mixtures * float((within.mean(axis=0) ** 2).sum()) / (seeds - 1)
    measurable = of_interaction > LEAST_RATIO**2 * float((within**2).mean())
    p_value = float(stats.f.sf(of_seeds / of_interaction, seeds - 1, degrees)) if measurable else 1.0
    return SeedEffect(p_value, p_value < SHIFT_LEVEL, float(np.sqrt(of_interaction)), degrees)


def _bartlett(residuals: NDArray[np.float64]) -> float:
    """P value of Bartlett's test of equal variances, of residuals [mixtures, seeds] with k - 1 degrees each."""
    from scipy import stats  # here, because it takes 0.5 s, which `plan` need not spend

    mixtures, seeds = residuals.shape
    degrees = seeds - 1
    variances = (residuals**2).sum(axis=1) / degrees
    if variances.max() == 0:
        return 1.0
    if variances.min() == 0:
        return 0.0
    deviance = mixtures * degrees * np.log(variances.mean()) - degrees * float(np.log(variances).sum())
    correction = 1 + (mixtures / degrees - 1 / (mixtures * degrees)) / (3 * (mixtures - 1))
    return float(stats.chi2.sf(deviance / correction, mixtures - 1))


def _paired(first: NDArray[np.float64], second: NDArray[np.float64]) -> SeedVariance:
    """Half the variance of the paired differences, so that a difference of means has 2/k of it."""
    return SeedVariance(float((first - second).var(ddof=1)) / 2, len(first) - 1)


def _with_welch_degrees(values: NDArray[np.float64], pooled: SeedVariance) -> SeedVariance:
    """The variance pooled over two mixtures with the degrees of freedom of Welch's test."""
    own = values.var(axis=1, ddof=1) if pooled.degrees_of_freedom else np.zeros(2)
    if not own.any():
        return pooled
    return SeedVariance(pooled.variance, float((values.shape[1] - 1) * own.sum() ** 2 / (own**2).sum()))


def _is_larger(own: SeedVariance, effect: SeedEffect) -> bool:
    """Whether the variance of one pair is above that of the interaction of all mixtures."""
    from scipy import stats  # here, because it takes 0.5 s, which `plan` need not spend

    shared = effect.interaction_deviation**2
    if shared == 0:
        return False
    p_value = stats.f.sf(own.variance / shared, own.degrees_of_freedom, effect.degrees_of_freedom)
    return float(p_value) < UNEQUAL_LEVEL
