"""Rules of the block `objective`: which scores the held-out sets of a stage have."""

from __future__ import annotations

from collections.abc import Iterator

from .blocks.mixture import OF_ATTRIBUTES, Objective, ScoreName
from .key_positions import KeyPath, Problem, nearest
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
    yield from _names(spec, objective)
    if objective.tasks and objective.score is not None:
        yield Problem((*path, "tasks"), f"cannot be combined with `score`; {REMOVE_INHERITED}")
        return
    scored = "heldout_bpb" in objective.model_fields_set or bool(objective.tasks)
    if (objective.score is None) != scored:
        yield Problem(path, f"needs exactly one of `heldout_bpb` and `score`; {REMOVE_INHERITED}")
        return
    given = (*path, objective.weights_key)
    weights = [*objective.weights.values(), *(task.weight for task in objective.tasks.values())]
    if (objective.weights_key in objective.model_fields_set or objective.tasks) and not any(weights):
        at = given if objective.weights_key in objective.model_fields_set else (*path, "tasks")
        yield Problem(at, "all weights are 0; at least one must be above 0")
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


def _names(spec: Spec, objective: Objective) -> Iterator[Problem]:
    """What is wrong with the names of tasks and of the anchor."""
    external = spec.external
    questions = {} if external is None else external.questions
    named = () if external is None or external.tasks is None else external.tasks.names
    for name in objective.tasks:
        if name not in questions and name not in named:
            known = nearest(name, (*named, *questions))
            where = "`external.tasks.names` or `external.questions`"
            yield Problem(("objective", "tasks", name), f"is not in {where}; {known}")
        elif name in questions and name in named:
            yield Problem(("external", "questions", name), "is also the name of a task of `external.tasks`; rename it")
    if objective.anchor is not None and objective.anchor not in spec.mixtures:
        message = f"there is no mixture {objective.anchor!r}; {nearest(objective.anchor, spec.mixtures)}"
        yield Problem(("objective", "anchor"), message)
    scored = (*objective.heldout_bpb, *objective.sources, *objective.tasks)
    for index, name in enumerate(objective.force):
        if name not in scored:
            yield Problem(("objective", "force", index), f"{name} is not in the objective; {nearest(name, scored)}")
