"""How well mixtures are predicted: published results, learned from one table and tested on another.

    python benchmarks/search.py FOLDER

FOLDER holds train_mixture*.csv and train_*loss*.csv (learned from) and test_mixture*.csv and test_*loss*.csv (asked),
in the form that `mixproof search --weights --scores` reads. Prints, per predictor, K-fold rank correlation on the first
two and rank correlation on the last two; how often the 95% interval of a prediction holds the score; and how the
objective (the plain mean of all scores) is ordered when few mixtures were run, directly and by its parts.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from mixproof.mixtures.search.choose import assign_folds, choose, rank_correlation, validate
from mixproof.mixtures.search.observations import Observations, read_observations
from mixproof.mixtures.search.predictors.families import families
from mixproof.mixtures.search.predictors.gaussian_process import fit_gaussian_process
from mixproof.mixtures.search.predictors.predictor import FloatArray

REPLICATES = 20
FEW = (32, 64, 112)
SUBSETS = 3


def main(folder: Path) -> None:
    """Print all three tables."""
    train, test = _read(folder, "train"), _read(folder, "test")
    _families(train, test)
    _choices(train, test)
    _few(train, test)


def _read(folder: Path, side: str) -> Observations:
    (weights,) = folder.glob(f"{side}_mixture*.csv")
    (scores,) = folder.glob(f"{side}_*loss*.csv")
    return read_observations(weights, scores)


def _families(train: Observations, test: Observations) -> None:
    fold = assign_folds(train.mixtures.shares)
    print(f"{'predictor':<18} {'K-fold mean':>11} {'test mean':>10} {'test worst':>10} {'seconds a score':>16}")
    for name, fit in families().items():
        started = time.process_time()
        found = []
        for train_scores, test_scores in zip(train.values.T, test.values.T, strict=True):
            kfold = validate(fit, train.mixtures.shares, train_scores, fold).rank_correlation
            asked = rank_correlation(
                fit(train.mixtures.shares, train_scores).predict(test.mixtures.shares), test_scores
            )
            found.append((100 * kfold, 100 * asked))
        seconds = (time.process_time() - started) / len(found)
        kfolds, tests = np.array(found).T
        print(f"{name:<18} {kfolds.mean():11.2f} {tests.mean():10.2f} {tests.min():10.2f} {seconds:16.2f}", flush=True)


def _choices(train: Observations, test: Observations) -> None:
    print(f"\n{'score':<48} {'chosen':<18} {'K-fold':>7} {'test':>7} {'in 95% interval':>16}")
    random = np.random.default_rng(0)
    tests = []
    for place, name in enumerate(train.scores):
        shares, scores, asked = train.mixtures.shares, train.values[:, place], test.values[:, place]
        choice = choose(families(), shares, scores)
        predicted = choice.predictor.predict(test.mixtures.shares)
        drawn = [random.integers(0, len(scores), len(scores)) for _ in range(REPLICATES)]
        refitted = [choice.predictor.refit(shares[rows], scores[rows]).predict(test.mixtures.shares) for rows in drawn]
        half = 1.96 * np.hypot(np.std(refitted, axis=0, ddof=1), choice.validation.residual_deviation)
        inside = float(np.mean(np.abs(predicted - asked) < half))
        tests.append(100 * rank_correlation(predicted, asked))
        kfold = 100 * choice.validation.rank_correlation
        print(f"{name:<48} {choice.family:<18} {kfold:7.2f} {tests[-1]:7.2f} {inside:16.1%}", flush=True)
    print(f"{'mean':<48} {'':<18} {'':>7} {np.mean(tests):7.2f}")


def _few(train: Observations, test: Observations) -> None:
    print("\nmean of all scores, by a Gaussian process learned from few mixtures: rank correlation x 100 on test")
    truth = test.values.mean(axis=1)
    for count in FEW:
        found = []
        for seed in range(SUBSETS):
            rows = np.random.default_rng(seed).permutation(len(train.values))[:count]
            shares, scores = train.mixtures.shares[rows], train.values[rows]
            direct = fit_gaussian_process(shares, scores.mean(axis=1)).predict(test.mixtures.shares)
            by_parts = _by_parts(shares, scores, test.mixtures.shares)
            found.append((100 * rank_correlation(direct, truth), 100 * rank_correlation(by_parts, truth)))
        direct_mean, parts_mean = np.mean(found, axis=0)
        print(f"{count:>4} mixtures: directly {direct_mean:.1f}, by parts {parts_mean:.1f}", flush=True)


def _by_parts(shares: FloatArray, scores: FloatArray, asked: FloatArray) -> FloatArray:
    parts = [fit_gaussian_process(shares, column).predict(asked) for column in scores.T]
    return np.asarray(np.mean(parts, axis=0), dtype=np.float64)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
