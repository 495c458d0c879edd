"""The parts of an objective: what every run scored on each source and task, and which of them may enter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.mixture import Objective
from mixproof.mixtures.search.signal_to_noise import (
    LEAST_OF_TASKS,
    SignalToNoise,
    admitted,
    measure,
    why_rejected,
)
from mixproof.train.record import RunRecord

from .ranked_score import RankedScore
from .task_scores import PREFIX, TaskScores, part_of


@dataclass(frozen=True)
class Goal:
    """What mixtures are ranked by."""

    weights: Mapping[str, float]
    """Of the parts; they sum to 1."""
    tasks: TaskScores
    """Scores of all runs on the tasks among the parts."""
    bounds: Mapping[str, float]
    """Least signal-to-noise ratio, by part."""
    anchor: str | None
    """Mixture that the winner is compared with on every part."""
    score: RankedScore
    """Of the held-out sets."""

    @property
    def sign(self) -> int:
        """1 if lower is better, -1 if higher is."""
        return -1 if self.score.higher_is_better else 1


@dataclass(frozen=True)
class Part:
    """One part of an objective."""

    name: str
    """Of the source; `tasks.NAME` for a task."""
    weight: float
    """In the objective; 0 if the part was rejected."""
    unit: str
    values: NDArray[np.float64]
    """[mixtures, seeds]"""
    found: SignalToNoise
    rejected: str | None
    """Why it does not enter the objective."""

    def to_json(self) -> dict[str, object]:
        """Its form in `compare --json`."""
        return {
            "weight": self.weight,
            "unit": self.unit,
            "signal": self.found.signal,
            "noise": self.found.noise,
            "signal_to_noise": self.found.ratio,
            "rejected": self.rejected,
        }


def parts_of(runs: Sequence[Sequence[RunRecord]], goal: Goal) -> tuple[Part, ...]:
    """Measure the parts of an objective on [mixtures][seeds] runs, and reject those below their bound.

    Raises:
        RequestError: when a weight is for a source without a held-out set, or no part may enter.
    """
    mixture = np.repeat(np.arange(len(runs)), len(runs[0]))
    parts = []
    for name, weight in goal.weights.items():
        values = np.array([[value_of(record, name, goal) for record in of_mixture] for of_mixture in runs])
        found = measure(mixture, values.ravel())
        rejected = why_rejected(name, found, goal.bounds.get(name, 0.0))
        parts.append(Part(name, weight, _unit(runs[0][0], name, goal), values, found, rejected))
    reasons = {part.name: part.rejected for part in parts if part.rejected is not None}
    kept = admitted(goal.weights, reasons)
    if not any(kept.values()):
        raise RequestError("no score may enter the objective: " + "; ".join(reasons.values()))
    return tuple(replace(part, weight=kept[part.name]) for part in parts)


def bounds_of(objective: Objective | None) -> dict[str, float]:
    """The least signal-to-noise ratio of every part that has a bound."""
    if objective is None:
        return {}
    least = objective.least_signal_to_noise
    of_tasks = LEAST_OF_TASKS if least is None else float(least)
    bounds = {part_of(name): of_tasks for name in objective.tasks if name not in objective.force}
    if least is not None:
        bounds |= {name: float(least) for name in objective.weights if name not in objective.force}
    return bounds


def value_of(record: RunRecord, part: str, goal: Goal) -> float:
    """What a run scored on a part.

    Raises:
        RequestError: when the part is a source without a held-out set, or without the score.
    """
    task = goal.tasks.get(record.key, {}).get(part)
    if task is not None:
        return task.value
    key = "objective.heldout_bpb" if goal.score.name in ("default", "bits_per_byte") else "objective.sources"
    if part not in record.heldout:
        raise RequestError(
            f"{key}: {part} has no held-out set in run {record.key[:12]}, which has "
            f"{', '.join(sorted(record.heldout))}; name only these in the objective"
        )
    value = goal.score.of(record.heldout[part])
    if value is None:
        raise RequestError(
            f"{key}: the held-out set of {part} has no {goal.score.unit(record.heldout[part])} in run "
            f"{record.key[:12]}; leave it out of the objective, or train the run again if it is older than this score"
        )
    return value


def missing_tasks(record: RunRecord, weights: Mapping[str, float], tasks: TaskScores) -> list[str]:
    """Tasks of the objective that a run has no scores on."""
    own = tasks.get(record.key, {})
    return [name.removeprefix(PREFIX) for name in weights if name.startswith(PREFIX) and name not in own]


def _unit(record: RunRecord, part: str, goal: Goal) -> str:
    task = goal.tasks.get(record.key, {}).get(part)
    return goal.score.unit(record.heldout[part]) if task is None else task.unit
