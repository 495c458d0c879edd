"""The blocks `target`, `mixtures` and `objective` of a spec."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from pydantic import Field, StrictBool

from mixproof.mixtures.values.quantities import ExactNumber, PositiveNumber, Share, TokenCount
from mixproof.mixtures.values.spec_part import Name, SpecPart
from mixproof.mixtures.values.whole_numbers import RopeBase, SequenceLength, WholeNumber

DEFAULT_MAX_EPOCHS = Fraction(4)
"""Up to about four epochs, repeated tokens are worth nearly as much as new ones (see `repetition.py`)."""


class TargetRun(SpecPart):
    """The large run for which the proxies are trained."""

    tokens: TokenCount
    """Training tokens of the large run."""
    max_epochs: dict[str, PositiveNumber] = Field(default={"default": DEFAULT_MAX_EPOCHS})
    """Largest number of epochs by source; `default` applies to the others. 2.0 means seen twice."""
    simulate: StrictBool = False
    """Cut each source so that a proxy run repeats it as often as the target run would."""


class ShareSpec(SpecPart):
    """Each source's share of the tokens: written as shares, or given by a rule over the sources' training tokens."""

    shares: dict[str, Share] | None = None
    """Shares by source; they sum to exactly 1. A source with a share of 0, or without one, is only evaluated."""
    rule: Literal["proportional", "temperature", "unimax"] | None = None
    """How to compute the shares from the sources' training tokens."""
    times: dict[str, ExactNumber] = Field(default={})
    """Multipliers on a rule's shares, by source. Default: 1."""
    temperature: PositiveNumber | None = None
    """For `rule: temperature`: shares are proportional to tokens^(1/temperature); above 1 flattens them."""


class Phase(ShareSpec):
    """A phase of a run, with its own shares, and optionally its own sequence length, rotary base and documents."""

    until: PositiveNumber
    """End of the phase, as a share of the proxy's tokens; above 100% for a run that is longer."""
    decay: StrictBool = False
    """For the last phase: the learning rate decays over this phase, and the run ends with it, even below 100%."""
    sequence_length: SequenceLength | None = None
    """Target tokens per sample in this phase. A step keeps its tokens, so a sample four times as long makes a batch of
    a quarter of the samples. Default: `train.sequence_length`."""
    rope_base: RopeBase | None = None
    """Base of the rotary embedding from this phase on, until a later phase sets another. Default: unchanged."""
    min_tokens: dict[str, WholeNumber] = Field(default={})
    """The phase reads only documents of at least this many tokens, EOD included. A number applies to all sources of the
    phase; `{books: 8192}` to the sources it names."""


class Mixture(ShareSpec):
    """Shares for the whole run, or phases with their own shares."""

    phases: tuple[Phase, ...] = ()
    """Consecutive phases, each with `until`; the last ends at 100%, unless it has `decay: true`."""


ScoreName = Literal[
    "loss",
    "pair_accuracy",
    "margin",
    "kl",
    "calibration_error",
    "mean_squared_error",
    "mean_absolute_error",
    "rank_correlation",
]
HIGHER_IS_BETTER: frozenset[ScoreName] = frozenset({"pair_accuracy", "margin", "rank_correlation"})
OF_ATTRIBUTES: frozenset[ScoreName] = frozenset({"mean_squared_error", "mean_absolute_error", "rank_correlation"})


class TaskWeight(SpecPart):
    """A task in the objective; `NAME: 2` is short for `NAME: {weight: 2}`."""

    weight: ExactNumber = Fraction(1)
    """Weight of the task's score."""
    score: Literal["bits_per_byte", "accuracy", "soft_accuracy"] = "bits_per_byte"
    """`bits_per_byte`: of the gold answers. `accuracy`: 1 minus the share of questions whose gold answer has the
    highest log-likelihood per byte. `soft_accuracy`: 1 minus the gold answer's share of the probability of all."""


class Objective(SpecPart):
    """What `compare` and `search` rank by: held-out bits per byte and tasks, or one score of another stage."""

    heldout_bpb: dict[str, ExactNumber] = Field(default={})
    """Weight of the held-out bits per byte, by source; lower is better."""
    score: ScoreName | None = None
    """In place of `heldout_bpb`: one score, as in `heldout` of `train --json`. Lower is better: `loss` (nats per
    supervised token, of the chosen answers of pairs), `kl` (divergence from the starting checkpoint), and, for reward
    models, `calibration_error`, `mean_squared_error` and `mean_absolute_error`. Higher is better: `pair_accuracy`,
    `margin`, `rank_correlation`."""
    sources: dict[str, ExactNumber] = Field(default={})
    """For `score`: weight of each held-out set. Default: all sets that the stage learns from, with equal weights."""
    attribute: str | None = None
    """For scores of ratings: one attribute. Default: all attributes together."""
    tasks: dict[Name, TaskWeight] = Field(default={})
    """Weight and score of tasks, by name: tasks of `external.tasks` and sets of `external.questions`."""
    anchor: Name | None = None
    """Mixture with which the winner is compared on every part of the objective. Default: the mixture with
    `rule: proportional`, if there is one."""
    least_signal_to_noise: ExactNumber | None = None
    """A part whose signal-to-noise ratio is lower does not enter the objective. Default: 2 for tasks, no bound for
    held-out sets."""
    force: tuple[str, ...] = ()
    """Sources and tasks that enter the objective regardless of their signal-to-noise ratio."""

    @property
    def weights(self) -> dict[str, Fraction]:
        """Weights by source, exactly as given; empty if all sets count equally."""
        return self.sources if self.score is not None else self.heldout_bpb

    @property
    def weights_key(self) -> Literal["sources", "heldout_bpb"]:
        """The key that has the weights."""
        return "heldout_bpb" if self.score is None else "sources"
