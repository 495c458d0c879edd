"""Scores of runs on tasks, question by question, in the form in which a comparison takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixproof.train.record import RunRecord

from .uncertainty import Documents

PREFIX = "tasks."


@dataclass(frozen=True)
class TaskScore:
    """One run's score on a task: the sum of amounts divided by the sum of sizes; lower is better."""

    amounts: NDArray[np.float64]
    """[questions] bits of the gold answer, or 1 minus the accuracy."""
    sizes: NDArray[np.float64]
    """[questions] bytes of the gold answer, or 1."""
    unit: str

    @property
    def value(self) -> float:
        """The score."""
        return float(self.amounts.sum() / self.sizes.sum())


TaskScores = Mapping[str, Mapping[str, TaskScore]]
"""By the run's key and by the part of the objective."""


def part_of(task: str) -> str:
    """Name of the part of an objective that is a task, which differs from the names of sources."""
    return f"{PREFIX}{task}"


def question_scores(runs: Sequence[Sequence[RunRecord]], part: str, tasks: TaskScores) -> Documents:
    """Scores of [mixtures][seeds] runs by question, for the bootstrap over questions.

    Questions with several gold answers may have another size in every run; the mean over runs stands for it.
    """
    scores = [[tasks[record.key][part] for record in of_mixture] for of_mixture in runs]
    amounts = [np.mean([score.amounts for score in of_mixture], axis=0) for of_mixture in scores]
    sizes = np.mean([score.sizes for of_mixture in scores for score in of_mixture], axis=0)
    return Documents(np.stack(amounts, axis=1), np.rint(sizes).astype(np.int64))
