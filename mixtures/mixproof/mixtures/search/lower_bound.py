"""Which mixtures to try next: those whose score may be lowest, by the lower confidence bound of an ensemble.

The ensemble is the predictor refitted to bootstrapped mixtures. The bound is the mean of its predictions minus their
standard deviation, so a mixture that the scores say little about is tried before one that is surely mediocre. Late
rounds that follow the prediction alone try near-copies of one point, and the prediction there is too low on average.
"""

from __future__ import annotations

import numpy as np

from mixproof.mixtures.search.predictors.predictor import FloatArray, Predictor

from .candidates import generator

MEMBERS = 16
DEVIATIONS = 1.0


def lower_bound(
    predictor: Predictor,
    rows: tuple[FloatArray, FloatArray],
    pool: FloatArray,
    *seed: str | int,
    deviations: float = DEVIATIONS,
) -> FloatArray:
    """The lower confidence bound [mixtures] of the objective of a pool.

    Args:
        predictor: fitted to the rows.
        rows: shares [mixtures, sources] that were run, and their scores, as `predictor.refit` takes them.
        pool: [mixtures, sources] shares to judge.
        seed: names that seed the bootstrap.
        deviations: standard deviations between mean and bound; 0 for the mean prediction.
    """
    shares, scores = rows
    random = generator("ensemble", *seed)
    mixture = np.unique(shares, axis=0, return_inverse=True)[1].ravel()
    count = int(mixture.max()) + 1
    predictions = [predictor.predict(pool)]
    for _ in range(MEMBERS):
        times = np.bincount(random.integers(0, count, count), minlength=count)[mixture]
        taken = np.repeat(np.arange(len(scores)), times)
        predictions.append(predictor.refit(shares[taken], scores[taken]).predict(pool))
    found = np.array(predictions)
    return np.asarray(found.mean(axis=0) - deviations * found.std(axis=0), np.float64)
