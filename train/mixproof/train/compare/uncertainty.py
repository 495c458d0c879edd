"""How sure a difference between mixtures is: two components, named, and what would settle an open one.

Seeds: the variance of the objective between seeds, pooled over M mixtures with k seeds each, which has
M·(k - 1) degrees of freedom; the mean of k seeds has a k-th of it. Documents: held-out sets are samples, so
documents are drawn again with replacement, per source and for all mixtures alike (a bootstrap of 1,000 with a
fixed seed), which keeps what two mixtures have in common out of their difference.

The half-width of a difference is the root of the sum of both components' squares, each with Student's t at its own
degrees of freedom, so the whole is never narrower than a part. (One t for both at Satterthwaite's degrees of freedom
can be: documents that hardly matter lend their many degrees to the seeds.) The best of M mixtures wins when its
difference to each other one is sure at 95% together: Bonferroni, 5%/(M - 1) each.
One seed a mixture says nothing about seeds, so nothing wins by it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mixproof.ledger.fingerprint import derive_seed

CONFIDENCE = 0.95
POWER = 0.8
"""Chance with which a difference of the detectable size is found."""
REPLICATES = 1000
MOST_SEEDS = 1000


@dataclass(frozen=True)
class SeedVariance:
    """Variance of the objective between seeds, pooled over mixtures."""

    variance: float
    degrees_of_freedom: int
    """M·(k - 1); 0 where every mixture has one seed, and then `variance` means nothing."""


@dataclass(frozen=True)
class Documents:
    """What one source's held-out documents scored."""

    bits: NDArray[np.float64]
    """[documents, mixtures] mean over seeds."""
    text_bytes: NDArray[np.int64]
    """[documents] UTF-8 bytes."""


@dataclass(frozen=True)
class Interval:
    """Half-widths of an interval, in the unit of the objective."""

    total: float
    """Of both components together."""
    seeds: float
    """As if the held-out documents were all there are."""
    documents: float | None
    """As if seeds made no difference; None where no per-document scores are there."""


def pool(values: Sequence[Sequence[float]]) -> SeedVariance:
    """Pool the variance between seeds.

    Args:
        values: [mixtures][seeds] the objective, the same seeds for each mixture.
    """
    table = np.asarray(values, np.float64)
    degrees = table.shape[0] * (table.shape[1] - 1)
    squares = float(((table - table.mean(axis=1, keepdims=True)) ** 2).sum())
    return SeedVariance(squares / degrees if degrees else 0.0, degrees)


def bootstrap(sources: dict[str, Documents], weights: dict[str, float]) -> NDArray[np.float64]:
    """Objectives of sets of documents that might as well have been held out.

    Args:
        sources: per-document scores of every source with a weight.
        weights: of each source; they sum to 1.

    Returns:
        [1000, mixtures] objective of each replicate.
    """
    total: NDArray[np.float64] | None = None
    for name in sorted(weights):
        documents = sources[name]
        size = len(documents.text_bytes)
        draw = np.random.default_rng(derive_seed("bootstrap", name))
        made = np.empty((REPLICATES, documents.bits.shape[1]))
        for replicate in range(REPLICATES):
            times = np.bincount(draw.integers(0, size, size), minlength=size)
            made[replicate] = (times @ documents.bits) / (times @ documents.text_bytes)
        total = made * weights[name] if total is None else total + made * weights[name]
    assert total is not None
    return total


def half_width(
    seeds: SeedVariance, num_seeds: float, spread: float | None, num_documents: int, *, of: int, comparisons: int
) -> Interval:
    """Half-width of the interval of a mean (`of` 1) or of a difference of two means (`of` 2).

    Args:
        seeds: the pooled variance, with at least one degree of freedom.
        num_seeds: k, seeds of each mean.
        spread: standard deviation of the same quantity over the bootstrap's replicates; None: not known.
        num_documents: held-out documents behind it.
        of: means that enter.
        comparisons: intervals that must hold together.
    """
    tail = 1 - (1 - CONFIDENCE) / 2 / comparisons
    by_seeds = float(stats.t.ppf(tail, seeds.degrees_of_freedom)) * math.sqrt(of * seeds.variance / num_seeds)
    by_documents = None if spread is None else float(stats.t.ppf(tail, max(num_documents - 1, 1))) * spread
    return Interval(total=math.hypot(by_seeds, by_documents or 0.0), seeds=by_seeds, documents=by_documents)


def seeds_to_settle(
    difference: float, seeds: SeedVariance, num_mixtures: int, spread: float | None, num_documents: int, start: int
) -> int | None:
    """Seeds a mixture with which `difference` would be sure, if it and the variances stay; None: no number would.

    Args:
        difference: of the two means, positive.
        seeds: the pooled variance.
        num_mixtures: M; more seeds add M degrees of freedom each.
        spread: of the difference over the bootstrap's replicates.
        num_documents: held-out documents behind it.
        start: the smallest number to try, 2 or more.
    """
    for num_seeds in range(start, MOST_SEEDS + 1):
        then = SeedVariance(seeds.variance, num_mixtures * (num_seeds - 1))
        width = half_width(then, num_seeds, spread, num_documents, of=2, comparisons=max(num_mixtures - 1, 1))
        if difference > width.total:
            return num_seeds
    return None


def detectable(
    seeds: SeedVariance, num_seeds: int, spread: float | None, num_documents: int, comparisons: int
) -> float:
    """Smallest true difference that would be found with a chance of 80%, at these seeds and documents."""
    tail = 1 - (1 - CONFIDENCE) / 2 / comparisons
    deviations = math.sqrt(2 * seeds.variance / num_seeds), spread or 0.0
    degrees = seeds.degrees_of_freedom, max(num_documents - 1, 1)
    quantiles = [float(stats.t.ppf(tail, number) + stats.t.ppf(POWER, number)) for number in degrees]
    return math.hypot(*(quantile * deviation for quantile, deviation in zip(quantiles, deviations, strict=True)))
