"""The finalists: the predicted optimum, the best measured mixtures, and the anchor, each with an estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mixproof.mixtures.blocks.search import FINALISTS
from mixproof.mixtures.search.predictors.predictor import FloatArray
from mixproof.mixtures.search.space import UNITS

from .calibration import Calibration
from .estimate import Estimate, of_measured, of_optimum


@dataclass(frozen=True)
class Finalist:
    """One of the mixtures among which a study chooses."""

    kind: Literal["optimum", "measured", "anchor"]
    row: int | None
    """First row of the study with this mixture; None for an optimum that was not run."""
    shares: tuple[float, ...]
    measured: float | None
    """Mean score of its runs."""
    runs: int
    predicted: float
    """Prediction of the optimum; of a measured mixture the K-fold prediction, which did not see its scores."""
    estimate: Estimate


@dataclass(frozen=True)
class Study:
    """Mixtures that were run, their objective, and their K-fold predictions; repeats have rows of their own."""

    shares: FloatArray
    """[rows, sources]"""
    scores: FloatArray
    """[rows]"""
    predicted: FloatArray
    """[rows]"""
    allowed: NDArray[np.bool_] | None = None
    """[rows]: which mixtures may be finalists; None if all may."""

    def mixtures(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The first row [mixtures] of every mixture, the mixture [rows] of every row, and runs [mixtures]."""
        _, first, mixture, runs = np.unique(
            self.shares, axis=0, return_index=True, return_inverse=True, return_counts=True
        )
        return first, mixture.ravel(), runs


def find_anchor(shares: FloatArray) -> int:
    """Row of the mixture that was repeated most often; if none was repeated, of the one nearest to the mean of all."""
    study = Study(shares, np.zeros(len(shares)), np.zeros(len(shares)))
    first, _, runs = study.mixtures()
    distance = np.abs(shares[first] - shares[first].mean(axis=0)).sum(axis=1)
    return int(first[np.lexsort((distance, -runs))[0]])


def nominate(
    study: Study,
    anchor: int | None,
    optimum: tuple[FloatArray, float],
    calibration: Calibration,
    count: int = FINALISTS,
) -> tuple[Finalist, ...]:
    """Choose the finalists, in the order of their kinds: the optimum, the best measured mixtures, the anchor.

    With repeats the best measured mixtures are those with the lowest estimates. Without repeats nothing separates noise
    from the predictor's errors, so they are those with the lowest scores. An optimum that was run is not unmeasured: it
    enters as a measured mixture.

    Args:
        study: what was run.
        anchor: row of the anchor; None if it has no score.
        optimum: shares [sources] and prediction of the mixture with the lowest prediction.
        calibration: errors of the study.
        count: number of best measured mixtures.
    """
    first, mixture, runs = study.mixtures()
    means = np.bincount(mixture, weights=study.scores) / runs
    predicted = np.bincount(mixture, weights=study.predicted) / runs

    anchored = None if anchor is None else int(mixture[anchor])

    def measured(number: int) -> Finalist:
        return Finalist(
            kind="anchor" if number == anchored else "measured",
            row=int(first[number]),
            shares=tuple(study.shares[first[number]].tolist()),
            measured=float(means[number]),
            runs=int(runs[number]),
            predicted=float(predicted[number]),
            estimate=of_measured(
                float(means[number]),
                int(runs[number]),
                float(predicted[number]),
                calibration.at(study.shares[first[number]]),
            ),
        )

    all_measured = [measured(number) for number in range(len(first))]
    rank = means if calibration.noise is None else np.array([one.estimate.value for one in all_measured])
    if study.allowed is not None:
        rank = np.where(study.allowed[first], rank, np.inf)
    chosen = [int(number) for number in np.argsort(rank, kind="stable")[:count] if np.isfinite(rank[number])]
    equal = np.abs(study.shares[first] - optimum[0]).max(axis=1) < 1 / UNITS
    was_run = np.flatnonzero(equal if study.allowed is None else equal & study.allowed[first])
    also = [int(number) for number in was_run] + ([] if anchored is None else [anchored])
    chosen += [number for number in also if number not in chosen]
    found = [all_measured[number] for number in chosen]
    if not len(was_run):
        estimate = of_optimum(optimum[1], calibration.at(optimum[0]))
        found.insert(0, Finalist("optimum", None, tuple(optimum[0].tolist()), None, 0, optimum[1], estimate))
    return tuple(found)
