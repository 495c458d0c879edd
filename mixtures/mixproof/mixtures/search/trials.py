"""All trials of a search so far, and the rows that its predictors are fitted to.

Rows are the runs to the full budget and, below them, the candidates that a race stopped, with the scores of their last
rung carried to the full budget (`race/carried.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from mixproof.mixtures.search.predictors.predictor import FloatArray

from .candidates import units_of
from .outcome import Measured, Trial, Units
from .race.carried import RungScores
from .race.round_stops import CandidateStop
from .space import Space, shares_of

Score = Callable[[Sequence[Trial]], Sequence[tuple[float, ...] | None]]
"""Measures trials: the parts of the objective of each, in the order of the weights; None for a failed one."""


class Trials:
    """The trials of a search in progress."""

    def __init__(self, space: Space, score: Score, weights: Mapping[str, float], first_seed: int) -> None:
        self._space, self._score, self._first_seed = space, score, first_seed
        self.weights = weights
        self.measured: list[Measured] = []
        """To the full budget, in the order of submission."""
        self.at_rungs: list[Measured] = []
        self.failed: list[Trial] = []
        self._stopped: list[tuple[CandidateStop, Fraction]] = []
        self._carried: tuple[FloatArray, FloatArray] | None = None
        """Of the runs so far; fitting the law again for every use would take longer than the predictors."""

    def measure(self, trials: Sequence[Trial]) -> list[Measured]:
        """Measure trials and keep their scores; return the successful ones."""
        scored = list(zip(trials, self._score(trials), strict=True))
        self._carried = None
        done = [Measured(trial, parts, self._mean(parts)) for trial, parts in scored if parts is not None]
        self.measured += [one for one in done if one.trial.part == 1]
        self.at_rungs += [one for one in done if one.trial.part < 1]
        self.failed += [trial for trial, parts in scored if parts is None]
        return done

    def stop(self, stops: Sequence[CandidateStop], part: Fraction) -> None:
        """Note candidates that were stopped at a part of the budget."""
        self._stopped += [(stop, part) for stop in stops]
        self._carried = None

    def reweigh(self, weights: Mapping[str, float]) -> None:
        """Change the objective's weights, and with them all scores."""
        self.weights = weights
        self.measured = [replace(one, score=self._mean(one.parts)) for one in self.measured]
        self.at_rungs = [replace(one, score=self._mean(one.parts)) for one in self.at_rungs]

    @property
    def tried(self) -> list[Units]:
        """All mixtures of which a run was attempted, sorted."""
        runs = [one.trial for one in (*self.measured, *self.at_rungs)]
        return sorted({trial.units for trial in (*runs, *self.failed)})

    def scores_at(self, part: Fraction) -> dict[Units, dict[int, float]]:
        """Scores at a rung, by mixture and seed."""
        scores: dict[Units, dict[int, float]] = {}
        for one in self.at_rungs:
            if one.trial.part == part:
                scores.setdefault(one.trial.units, {})[one.trial.seed] = one.score
        return scores

    def scores_of(self, units: Units) -> tuple[float, ...]:
        """Scores of a mixture at the full budget."""
        return tuple(one.score for one in self.measured if one.trial.units == units)

    def rows(self) -> tuple[FloatArray, FloatArray]:
        """Shares [rows, sources] and the parts of the objective [rows, parts]."""
        shares, parts = self._shares(self.measured), _parts(self.measured, len(self.weights))
        if not self._stopped:
            return shares, parts
        if self._carried is None:
            self._carried = self._carry()
        return np.vstack([shares, self._carried[0]]), np.vstack([parts, self._carried[1]])

    def objectives(self, parts: FloatArray) -> FloatArray:
        """The objective of every row, from `rows()[1]`."""
        carried = [self._mean(tuple(row)) for row in parts[len(self.measured) :].tolist()]
        return np.array([*(one.score for one in self.measured), *carried])

    def _carry(self) -> tuple[FloatArray, FloatArray]:
        """The rows of the stopped candidates."""
        runs = [*self.at_rungs, *self.measured]
        last = {Trial(stop.units, self._first_seed, part) for stop, part in self._stopped}
        rows = [row for row, one in enumerate(runs) if one.trial in last]
        shares = self._shares(runs)
        known = RungScores(shares, [one.trial.part for one in runs], _parts(runs, len(self.weights)))
        return shares[rows], known.carried(rows)

    def _shares(self, runs: Sequence[Measured]) -> FloatArray:
        return shares_of(units_of(self._space, [one.trial.units for one in runs]))

    def _mean(self, parts: tuple[float, ...]) -> float:
        return sum(weight * part for weight, part in zip(self.weights.values(), parts, strict=True))


def _parts(runs: Sequence[Measured], count: int) -> FloatArray:
    return np.array([one.parts for one in runs], dtype=np.float64).reshape(-1, count)
