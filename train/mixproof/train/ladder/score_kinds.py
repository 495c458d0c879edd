"""Whether a score behaves like a loss or like a task score, and which loss a task score is predicted through."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from scipy.stats import kendalltau

from .task_law import Vector, fit_task_law

Kind = Literal["loss", "task"]
LEAST_TREND = 0.3
"""Kendall's rank correlation with compute below which a score shows no trend."""
MIXED_RANGE = 0.5
"""Of the lowest percentage, what the lowest fraction must be as a percentage for the two to be one score."""
METRIC_WORDS = frozenset(
    [
        "acc",
        "accuracy",
        "norm",
        "len",
        "raw",
        "soft",
        "bpb",
        "loss",
        "ce",
        "nll",
        "ppl",
        "crossentropyloss",
        "cross",
        "entropy",
        "bits",
        "per",
        "byte",
        "eval",
        "downstream",
        "metric",
        "score",
        "em",
        "exact",
        "match",
        "f1",
        "primary",
    ]
)


def kind_of(scores: Vector, compute: Vector) -> Kind | str:
    """The kind of a score, or the reason why it has none.

    A loss is positive and falls with compute. A task score is between 0 and 1, or between 0 and 100, and rises.
    """
    if np.ptp(scores) == 0:
        return "it is the same in all runs"
    if mixed := _mixed_units(scores, compute):
        return mixed
    trend = float(kendalltau(scores, compute).statistic)
    if abs(trend) < LEAST_TREND:
        return f"it shows no trend with compute (Kendall's rank correlation {trend:.2f}), as a task at chance does"
    if trend < 0:
        if scores.min() > 0:
            return "loss"
        wrong = np.flatnonzero(scores <= 0)
        return (
            f"it falls with compute but is not positive in {len(wrong)} of {len(scores)} runs (the first of these: "
            f"{scores[wrong[0]]:g}), so it is not a loss"
        )
    if scores.min() >= 0 and scores.max() <= 100:
        return "task"
    return "it rises with compute but is not between 0 and 1 or 0 and 100, so it is not a task score"


def _mixed_units(scores: Vector, compute: Vector) -> str | None:
    """Whether some runs have a fraction and others a percentage: as percentages, all follow compute more closely."""
    fractions = (scores > 0) & (scores <= 1)
    if scores.min() < 0 or scores.max() > 100 or fractions.all() or not fractions.any():
        return None
    percentages = np.where(fractions, 100 * scores, scores)
    as_is, scaled = (float(kendalltau(values, compute).statistic) for values in (scores, percentages))
    if scaled < LEAST_TREND or scaled <= as_is or percentages[fractions].min() < MIXED_RANGE * scores[~fractions].min():
        return None
    return (
        f"{fractions.sum()} of {len(scores)} runs seem to have a fraction (such as {scores[fractions][0]:g}) and the "
        f"others a percentage (such as {scores[~fractions][0]:g}); write all in one unit"
    )


def ceiling_of(scores: Vector) -> float:
    """The perfect score: 1, or 100 for percentages."""
    return 1.0 if scores.max() <= 1 else 100.0


def choose_loss(name: str, pairs: Mapping[str, tuple[Vector, Vector]]) -> str | None:
    """The loss through which a task score is predicted.

    The one whose name is the same apart from words for the metric (`hellaswag_acc` and `hellaswag_bpb`); else the one
    on which a sigmoid has the smallest residuals. None if there is no loss.

    Args:
        name: of the task score.
        pairs: by loss, its values and the task's in the runs that have both.
    """
    if not pairs:
        return None
    same = [loss for loss in pairs if _task_words(loss) == _task_words(name)]
    candidates = same if same and _task_words(name) else list(pairs)
    return min(candidates, key=lambda loss: _misfit(*pairs[loss]))


def _task_words(name: str) -> Sequence[str]:
    words = re.split(r"[^0-9a-z]+", name.lower())
    return [word for word in words if word and word not in METRIC_WORDS]


def _misfit(losses: Vector, scores: Vector) -> float:
    law = fit_task_law(losses, scores, ceiling_of(scores))
    return float(np.mean((law.predict(losses) - scores) ** 2))
