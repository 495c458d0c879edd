"""The uncertainty of a difference between mixtures: two named components, and what would settle an open comparison.

Seeds: `mixproof.mixtures.search.seed_noise` gives the variance that a mean or a difference is judged on; the mean of k
seeds has 1/k of it. Documents: held-out sets are samples, so documents
are resampled with replacement, per source and jointly for all mixtures (a bootstrap with 1,000 replicates and a fixed
seed); answers to one prompt are drawn together. Joint resampling cancels what two mixtures have in common.

The half-width of a difference is the root of the sum of squares of both components, each with Student's t at its own
degrees of freedom, so the total is never narrower than a component. (A single t at Satterthwaite's degrees of freedom
can be narrower: documents that hardly matter would lend their many degrees of freedom to the seeds.) The best of M
mixtures wins if its difference from every other one is significant at 95% jointly: Bonferroni, 5%/(M - 1) each.
With one seed per mixture the seed variance is unknown, so nothing wins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import derive_seed
from mixproof.mixtures.search.seed_noise import SeedVariance

CONFIDENCE = 0.95
POWER = 0.8
"""Probability that a difference of the minimum detectable size is found."""
REPLICATES = 1000
MOST_SEEDS = 1000


class HeldoutSample(Protocol):
    """Scores of one source's held-out documents, or prompts, which are resampled."""

    @property
    def size(self) -> int:
        """Number of documents, or prompts."""

    def of(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return [mixtures] the score, mean over seeds, if each document occurs `counts` times; NaN if undefined."""


@dataclass(frozen=True)
class Documents:
    """Scores that are ratios of sums over documents, such as bits per byte."""

    amounts: NDArray[np.float64]
    """[documents, mixtures] what is summed, for example bits; mean over seeds."""
    units: NDArray[np.int64]
    """[documents] what the sum is divided by, for example UTF-8 bytes."""

    @property
    def size(self) -> int:
        """Number of documents."""
        return len(self.units)

    def of(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return [mixtures] the ratios; NaN if no unit was drawn."""
        total = counts @ self.units
        ratios: NDArray[np.float64] = (
            (counts @ self.amounts) / total if total else np.full(self.amounts.shape[1], np.nan)
        )
        return ratios


@dataclass(frozen=True)
class Interval:
    """Half-widths of an interval, in the unit of the objective."""

    total: float
    """Both components combined."""
    seeds: float
    """The seed component alone."""
    documents: float | None
    """The document component alone; None without per-document scores."""


def bootstrap(sources: Mapping[str, HeldoutSample], weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Objectives on resampled held-out documents.

    Args:
        sources: per-document scores of every source with a weight.
        weights: of each source; they sum to 1.

    Returns:
        [replicates, mixtures] objective of each replicate: 1000, or fewer if a score is undefined for some, because no
        rated answer was drawn.
    """
    total: NDArray[np.float64] | float = 0.0
    for name in sorted(weights):
        sample = sources[name]
        draw = np.random.default_rng(derive_seed("bootstrap", name))
        replicates = [
            sample.of(np.bincount(draw.integers(0, sample.size, sample.size), minlength=sample.size))
            for _ in range(REPLICATES)
        ]
        total = total + np.stack(replicates) * weights[name]
    made = np.asarray(total, np.float64)
    return made[np.isfinite(made).all(axis=1)]


def half_width(
    seeds: SeedVariance, num_seeds: float, spread: float | None, num_documents: int, *, of: int, comparisons: int
) -> Interval:
    """Half-width of the interval of a mean (`of` 1) or of a difference of two means (`of` 2).

    Args:
        seeds: the variance that it is judged on, with at least one degree of freedom.
        num_seeds: k, seeds of each mean.
        spread: standard deviation of the same quantity over the bootstrap replicates; None: unknown.
        num_documents: number of held-out documents.
        of: number of means.
        comparisons: number of intervals that must hold jointly.
    """
    from scipy import stats  # here, because it takes 0.5 s, which `plan` need not spend

    tail = 1 - (1 - CONFIDENCE) / 2 / comparisons
    by_seeds = float(stats.t.ppf(tail, seeds.degrees_of_freedom)) * math.sqrt(of * seeds.variance / num_seeds)
    by_documents = None if spread is None else float(stats.t.ppf(tail, max(num_documents - 1, 1))) * spread
    return Interval(total=math.hypot(by_seeds, by_documents or 0.0), seeds=by_seeds, documents=by_documents)


def seeds_to_settle(
    difference: float,
    seeds: SeedVariance,
    num_seeds: int,
    spread: float | None,
    num_documents: int,
    *,
    comparisons: int,
) -> int | None:
    """Seeds per mixture that would make `difference` significant if it and the variances stay; None: no number would.

    Args:
        difference: of the two means, positive.
        seeds: the variance it is judged on; every further seed adds as many degrees of freedom as the second one did.
        num_seeds: k, seeds per mixture now, at least 2.
        spread: standard deviation of the difference over the bootstrap replicates.
        num_documents: number of held-out documents.
        comparisons: number of differences that must hold jointly.
    """
    per_seed = seeds.degrees_of_freedom / (num_seeds - 1)
    for number in range(num_seeds + 1, MOST_SEEDS + 1):
        then = SeedVariance(seeds.variance, per_seed * (number - 1))
        width = half_width(then, number, spread, num_documents, of=2, comparisons=comparisons)
        if difference > width.total:
            return number
    return None


def detectable(
    seeds: SeedVariance, num_seeds: int, spread: float | None, num_documents: int, comparisons: int
) -> float:
    """Minimum detectable difference at power 80%, with these seeds and documents."""
    from scipy import stats  # here, because it takes 0.5 s, which `plan` need not spend

    tail = 1 - (1 - CONFIDENCE) / 2 / comparisons
    deviations = math.sqrt(2 * seeds.variance / num_seeds), spread or 0.0
    degrees = seeds.degrees_of_freedom, max(num_documents - 1, 1)
    quantiles = [float(stats.t.ppf(tail, number) + stats.t.ppf(POWER, number)) for number in degrees]
    return math.hypot(*(quantile * deviation for quantile, deviation in zip(quantiles, deviations, strict=True)))
