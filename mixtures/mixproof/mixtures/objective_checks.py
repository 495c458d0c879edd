"""Rules of the block `objective`: which scores the held-out sets of a stage have."""

from __future__ import annotations

from collections.abc import Iterator

from .blocks.mixture import OF_ATTRIBUTES, ScoreName
from .key_positions import KeyPath, Problem
from .spec import Spec

REMOVE_INHERITED = "set an inherited key to `null` to remove it"
SCORES_OF_STAGE: dict[str, tuple[ScoreName, ...]] = {
    "pretrain": ("loss",),
    "sft": ("loss",),
    "dpo": ("loss", "pair_accuracy", "margin", "kl"),
    "rpo": ("loss", "pair_accuracy", "margin", "kl"),
    "reward": ("loss", "pair_accuracy", "margin", "calibration_error", *sorted(OF_ATTRIBUTES)),
}
"""Scores that the held-out sets of a stage have, besides bits per byte, which a reward model has not."""


def objective_problems(spec: Spec) -> Iterator[Problem]:
    """Return what is wrong with the objective of a spec."""
    objective, stage = spec.objective, spec.train.stage
    if objective is None:
        return
    path: KeyPath = ("objective",)
    if (objective.score is None) == ("heldout_bpb" not in objective.model_fields_set):
        yield Problem(path, f"needs exactly one of `heldout_bpb` and `score`; {REMOVE_INHERITED}")
        return
    given = (*path, objective.weights_key)
    if objective.weights_key in objective.model_fields_set and not any(objective.weights.values()):
        yield Problem(given, "all weights are 0; at least one must be above 0")
    if objective.score is None:
        for key in sorted(objective.model_fields_set & {"sources", "attribute"}):
            yield Problem((*path, key), "applies only to a `score`; remove it")
        if stage == "reward":
            message = f"a reward model predicts no text; use `score` with {', '.join(SCORES_OF_STAGE[stage])}"
            yield Problem(given, message)
        return
    if objective.score not in SCORES_OF_STAGE[stage]:
        message = f"runs of stage {stage} have no {objective.score}; use {', '.join(SCORES_OF_STAGE[stage])}"
        yield Problem((*path, "score"), message)
    if objective.attribute is not None and objective.score not in OF_ATTRIBUTES:
        message = f"{objective.score} is not a score of an attribute; use {', '.join(sorted(OF_ATTRIBUTES))}"
        yield Problem((*path, "attribute"), message)
