"""Scores that are not ratios of sums, on resampled prompts: rank correlation of ratings, calibration error of pairs.

A resample gives each row the number of times that its prompt was drawn. Both scores are computed from these weights,
as if each row were repeated that often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixproof.train.post_training.calibration import bins_of, confidences, hits

Floats = NDArray[np.float64]


class Statistic(Protocol):
    """A score of one run as a function of the weights of its rows."""

    def __call__(self, weights: NDArray[np.int64]) -> float:
        """Return the score; NaN if these rows have none."""


class CalibrationError:
    """Expected calibration error of pairs, from the differences of rewards."""

    def __init__(self, differences: Floats) -> None:
        """Take [pairs] reward of the chosen minus reward of the rejected answer."""
        self._bins = bins_of(differences)
        self._gaps = hits(differences) - confidences(differences)

    def __call__(self, weights: NDArray[np.int64]) -> float:
        """Return the weighted error."""
        return float(np.abs(np.bincount(self._bins, weights * self._gaps)).sum() / weights.sum())


class RankCorrelation:
    """Mean over attributes of Spearman's rank correlation of given and predicted ratings."""

    def __init__(self, rated: Floats, predicted: Floats) -> None:
        """Take [answers, attributes] ratings; NaN where absent."""
        self._attributes = [
            (np.flatnonzero(present), _groups(given[present]), _groups(found[present]))
            for given, found, present in zip(rated.T, predicted.T, np.isfinite(rated).T, strict=True)
        ]

    def __call__(self, weights: NDArray[np.int64]) -> float:
        """Return the mean over attributes that vary in these rows."""
        found = [
            _correlation(_midranks(given, weights[rows]), _midranks(predicted, weights[rows]), weights[rows])
            for rows, given, predicted in self._attributes
        ]
        known = [value for value in found if np.isfinite(value)]
        return float(np.mean(known)) if known else float("nan")


def _groups(values: Floats) -> NDArray[np.int64]:
    """Number each value by its place among the different values, the smallest first."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _midranks(groups: NDArray[np.int64], weights: NDArray[np.int64]) -> Floats:
    """Return the ranks of values that occur `weights` times; equal values share the mean of their ranks."""
    sizes = np.bincount(groups, weights)
    return (np.cumsum(sizes) - sizes + (sizes + 1) / 2)[groups]


def _correlation(first: Floats, second: Floats, weights: NDArray[np.int64]) -> float:
    total = weights.sum()
    if not total:
        return float("nan")
    one, other = (values - (weights @ values) / total for values in (first, second))
    scale = np.sqrt((weights @ one**2) * (weights @ other**2))
    return float((weights @ (one * other)) / scale) if scale > 0 else float("nan")


@dataclass(frozen=True)
class ResampledScores:
    """Scores of one source's held-out prompts by any statistic."""

    prompt: NDArray[np.int64]
    """[rows] number of each row's prompt."""
    size: int
    """Number of prompts."""
    runs: Sequence[Sequence[Statistic]]
    """[mixtures][seeds]"""

    def of(self, counts: NDArray[np.int64]) -> Floats:
        """Return [mixtures] the mean over seeds, if each prompt occurs `counts` times."""
        weights = counts[self.prompt]
        return np.array([np.mean([statistic(weights) for statistic in seeds]) for seeds in self.runs])
