"""Parts of a run's record about its stage after pretraining, and the runs that it continues."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from pydantic import NonNegativeInt

from .record_part import RecordPart, SparseRecordPart


class Ancestor(RecordPart):
    """A run in the chain that a run started from."""

    run: str
    """Key of the run."""
    stage: str
    build: str
    consumed_tokens: NonNegativeInt
    supervised_tokens: NonNegativeInt | None
    """None: a pretraining run, in which every token counts."""


class PlannedSource(RecordPart):
    """What the planned windows of one source hold."""

    supervised_tokens: NonNegativeInt
    context_tokens: NonNegativeInt
    padding_tokens: NonNegativeInt
    examples: NonNegativeInt


class DpoRecord(RecordPart):
    """Settings of direct preference optimization; exact decimals as strings."""

    beta: str
    label_smoothing: str
    loss: Literal["sigmoid", "ipo"]


class RpoRecord(RecordPart):
    """Settings of reward-aware preference optimization; exact decimals as strings."""

    beta: str
    eta: str


class RewardRecord(RecordPart):
    """Settings of a reward model."""

    loss: Literal["bradley_terry", "regression"]
    """On pairs, or on rated answers."""
    attributes: tuple[str, ...]
    """What a regression predicts, in the order of the head's outputs; none on pairs, where there is one reward."""

    @property
    def outputs(self) -> int:
        """Outputs of the head."""
        return len(self.attributes) or 1


class PostTraining(SparseRecordPart):
    """Stage and plan of a run after pretraining."""

    stage: Literal["sft", "dpo", "rpo", "reward"]
    too_long: Literal["truncate", "split", "drop"]
    """What happened to conversations longer than a window."""
    shares_by: Literal["supervised", "tokens", "examples"]
    """What the declared shares are shares of."""
    planned: dict[str, PlannedSource]
    """By source, counted in the packed windows of the run before it was trained."""
    templates: dict[str, str]
    """How the conversations of each source are rendered; a source without conversations has none."""
    answers_scored: tuple[str, ...] | None = None
    """Of stages on pairs: sources of conversations whose held-out answers are scored too, so that forgetting shows;
    absent if the build has none."""
    dpo: DpoRecord | None = None
    """Of stage `dpo`."""
    rpo: RpoRecord | None = None
    """Of stage `rpo`."""
    reward: RewardRecord | None = None
    """Of stage `reward`."""
    ancestors: tuple[Ancestor, ...] = ()
    """Runs that the start was trained by, the first one first; empty if the run starts from no run of mixproof."""

    @property
    def beta(self) -> Fraction | None:
        """Scale of implicit rewards; None if the stage has none."""
        settings = self.dpo or self.rpo
        return None if settings is None else Fraction(settings.beta)
