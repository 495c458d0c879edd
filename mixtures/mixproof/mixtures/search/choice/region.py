"""The region around a recommendation: which mixtures are as good within the noise of the study.

Predictors are refitted to bootstrapped rows. A mixture is as good as the recommended one if at least 5% of these
predictors rank it no worse. The region is the range of each share over such mixtures, from the 5th to the 95th
percentile and widened to the recommended share. The mixtures are drawn around the finalists, and those that were run
are among them. Not every mixture inside these ranges is as good: shares depend on each other.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixproof.mixtures.search.candidates import draw, draw_near, generator
from mixproof.mixtures.search.predictors.predictor import FloatArray, Predictor
from mixproof.mixtures.search.space import Space, shares_of

REPLICATES = 50
DRAWS = 512
CONCENTRATIONS = (30.0, 100.0, 400.0)
LEAST_AGREEMENT = 0.05
PERCENTILES = (5, 95)

Ranges = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Bootstrap:
    """Predictions of refitted predictors."""

    shares: FloatArray
    """[mixtures, sources]: the finalists first, in their order."""
    predictions: FloatArray
    """[replicates, mixtures]"""


def bootstrap(
    predictor: Predictor,
    rows: tuple[FloatArray, FloatArray],
    space: Space,
    finalists: FloatArray,
    *seed: str | int,
    allowed: NDArray[np.bool_] | None = None,
) -> Bootstrap:
    """Refit the predictor to bootstrapped rows and predict the finalists and mixtures around them.

    Args:
        predictor: fitted to the rows.
        rows: shares [mixtures, sources] that were run, and their scores, as `predictor.refit` takes them.
        space: the mixtures to consider.
        finalists: [finalists, sources] shares.
        seed: names that seed the draws.
        allowed: [mixtures] which of the rows may be recommended; None if all may.
    """
    random = generator("bootstrap", *seed)
    centers = np.repeat(finalists, -(-DRAWS // len(finalists)), axis=0)
    drawn = [draw(space, DRAWS, random), *(draw_near(space, centers, size, random) for size in CONCENTRATIONS)]
    shares, scores = rows
    pool = np.vstack(
        [finalists, shares_of(np.unique(np.vstack(drawn), axis=0)), shares if allowed is None else shares[allowed]]
    )
    samples = [random.integers(0, len(scores), len(scores)) for _ in range(REPLICATES)]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = list(threads.map(lambda rows: predictor.refit(shares[rows], scores[rows]).predict(pool), samples))
    return Bootstrap(pool, np.array(found))


def region_of(replicates: Bootstrap, recommended: int) -> tuple[FloatArray, FloatArray]:
    """The region around the finalist with this index: smallest and largest shares [sources]."""
    no_worse = replicates.predictions <= replicates.predictions[:, [recommended]]
    as_good = replicates.shares[no_worse.mean(axis=0) >= LEAST_AGREEMENT]
    own = replicates.shares[recommended]
    low, high = np.percentile(as_good, PERCENTILES, axis=0)
    return np.minimum(low, own), np.maximum(high, own)


def optimum_ranges(replicates: Bootstrap) -> tuple[FloatArray, FloatArray]:
    """5th and 95th percentile of the shares [sources] over the optima of the refitted predictors."""
    best = replicates.shares[replicates.predictions.argmin(axis=1)]
    low, high = np.percentile(best, PERCENTILES, axis=0)
    return low, high
