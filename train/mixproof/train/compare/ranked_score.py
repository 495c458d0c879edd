"""The score by which mixtures are ranked: where a run's record has it, its unit, and which direction is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mixproof.ledger.manifest import Manifest
from mixproof.mixtures.blocks.mixture import HIGHER_IS_BETTER, OF_ATTRIBUTES, Objective, ScoreName, TaskWeight
from mixproof.train.record import RunRecord
from mixproof.train.score_record import AttributeScore, HeldoutScore

Name = ScoreName | Literal["default", "bits_per_byte"]
WORDS: Mapping[Name, str] = {
    "bits_per_byte": "bits per byte",
    "pair_accuracy": "pair accuracy",
    "margin": "margin of rewards",
    "kl": "nats of KL divergence per token",
    "calibration_error": "calibration error",
    "mean_squared_error": "squared error",
    "mean_absolute_error": "absolute error",
    "rank_correlation": "rank correlation",
}


@dataclass(frozen=True)
class RankedScore:
    """One score of held-out sets."""

    name: Name = "default"
    """`default`: bits per byte; the share of wrong pairs; the squared error of ratings."""
    attribute: str | None = None
    """Of ratings; None: all attributes together."""

    @property
    def higher_is_better(self) -> bool:
        """The direction; `default` is minimized."""
        return self.name in HIGHER_IS_BETTER

    def unit(self, score: HeldoutScore) -> str:
        """Name the unit, for verdicts and tables."""
        if self.name in ("default", "bits_per_byte"):
            return score.unit
        if self.name == "loss":
            return _unit_of_loss(score)
        return WORDS[self.name] + (f" of {self.attribute}" if self.attribute else "")

    def of(self, score: HeldoutScore) -> float | None:
        """Return the value for one held-out set; None if the set has no such score."""
        if self.name == "default":
            return score.minimized
        if self.name in OF_ATTRIBUTES:
            return self._of_attributes(score)
        if self.name in ("loss", "bits_per_byte"):
            return score.loss if self.name == "loss" else score.bits_per_byte
        if score.pairs is None:
            return score.kl if self.name == "kl" else None
        found: float | None = getattr(score.pairs, self.name)
        return found

    def path(self, score: HeldoutScore) -> tuple[str, ...] | None:
        """Keys that lead to the value in the record of a held-out set; None if it is derived from several."""
        if self.name == "default":
            return ("bits_per_byte",) if score.bits_per_byte is not None and score.pairs is None else None
        if self.name in OF_ATTRIBUTES:
            return None if self.attribute is None else ("attributes", self.attribute, self.name)
        of_set = self.name in ("loss", "bits_per_byte") or score.pairs is None
        return (self.name,) if of_set else ("pairs", self.name)

    def attributes_of(self, score: HeldoutScore) -> dict[str, AttributeScore]:
        """Return the attributes that count, by name."""
        found = score.attributes or {}
        return found if self.attribute is None else {name: found[name] for name in found if name == self.attribute}

    def _of_attributes(self, score: HeldoutScore) -> float | None:
        """Errors are means over all ratings; a rank correlation is the mean over attributes that have one."""
        parts = list(self.attributes_of(score).values())
        if self.name == "rank_correlation":
            known = [part.rank_correlation for part in parts if part.rank_correlation is not None]
            return float(np.mean(known)) if known else None
        answers = sum(part.answers for part in parts)
        return sum(getattr(part, self.name) * part.answers for part in parts) / answers if answers else None


def _unit_of_loss(score: HeldoutScore) -> str:
    if score.bits_per_byte is not None:
        return "nats per token" if score.pairs is None else "nats per token of the chosen answers"
    return "nats per pair" if score.attributes is None else "squared error"


def ranked_score(objective: Objective | None) -> RankedScore:
    """Return the score that an objective names."""
    if objective is None:
        return RankedScore()
    return RankedScore(objective.score or "bits_per_byte", objective.attribute)


def default_sources(record: RunRecord, manifest: Manifest | None) -> list[str]:
    """Held-out sets that count if the spec names none: those that the stage learns from.

    After fine-tuning these are conversations, not plain texts; after preference optimization pairs, not single answers.
    Without the build's manifest, conversations are the sources with a template that the run was trained on.
    """
    scored, trained = sorted(record.heldout), record.post_training
    if trained is None or trained.stage == "reward":
        return scored
    if trained.stage != "sft":
        return [name for name in scored if record.heldout[name].pairs is not None]
    if manifest is None:
        chats = set(trained.templates)
    else:
        chats = {name for name, source in manifest.sources.items() if source.kind == "chat"}
    return [name for name in scored if name in chats] or scored


def objective_in_words(objective: Objective | None, units: Sequence[str]) -> str:
    """Say what mixtures are ranked by; `units` are those of the held-out sets that count."""
    if objective is None:
        unit = " and ".join(dict.fromkeys(units)) or "bits per byte"
        return f"plain mean of held-out {unit} over sources, because the spec names no objective"
    score = ranked_score(objective)
    name = "loss" if score.name == "loss" else WORDS[score.name]
    of = f" of {score.attribute}" if score.attribute else ""
    higher = ", higher is better" if score.higher_is_better else ""
    if not objective.weights and not objective.tasks:
        return f"plain mean of held-out {name}{of} over sources{higher}"
    weights = ", ".join(f"{source} {weight}" for source, weight in objective.weights.items())
    tasks = ", ".join(f"{task} {one.weight} ({_of_task(one)})" for task, one in objective.tasks.items())
    if not weights:
        return f"mean of tasks weighted by {tasks}"
    sources = f"mean of held-out {name}{of} weighted by {weights}{higher}"
    return f"{sources}, and of tasks weighted by {tasks}" if tasks else sources


def _of_task(task: TaskWeight) -> str:
    return "bits per byte" if task.score == "bits_per_byte" else f"1 - {task.score.replace('_', ' ')}"
