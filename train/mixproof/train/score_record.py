"""Parts of a run's record about its scores on held-out sets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt

from .record_part import RecordPart

Interval = tuple[float, float]
"""Low and high end."""


class ReliabilityBin(RecordPart):
    """Pairs of similar confidence: the probability, by the model, that the answer with the higher reward is better."""

    pairs: NonNegativeInt
    confidence: float
    """Mean over the pairs, from 0.5 to 1."""
    accuracy: float
    """Share of the pairs whose chosen answer has the higher reward; equal rewards count half."""


class PairScore(RecordPart):
    """The score of a held-out set of pairs."""

    pairs: NonNegativeInt
    pair_accuracy: float
    """Share of the pairs whose chosen answer has the higher implicit reward; equal rewards count half."""
    margin: float
    """Mean difference of the rewards of chosen and rejected answer."""
    kl: float | None = Field(default=None, exclude_if=lambda kl: kl is None)
    """Mean divergence KL(model || starting checkpoint) in nats, at the tokens of the chosen answers."""
    kl_interval: Interval | None = Field(default=None, exclude_if=lambda given: given is None)
    """Of `kl`: a 95% interval over prompts."""
    calibration_error: float | None = Field(default=None, exclude_if=lambda given: given is None)
    """Of a reward model: mean over pairs of |accuracy - confidence| of their bin (expected calibration error)."""
    reliability: tuple[ReliabilityBin, ...] | None = Field(default=None, exclude_if=lambda given: given is None)
    """Of a reward model: the bins that have pairs."""


class AttributeScore(RecordPart):
    """How well one attribute of answers is predicted."""

    answers: NonNegativeInt
    """Answers that are rated by it."""
    mean_squared_error: float
    mean_absolute_error: float
    rank_correlation: float | None
    """Spearman's; None if all ratings, or all predictions, are equal."""
    calibration_slope: float | None = Field(default=None, exclude_if=lambda given: given is None)
    """Slope of the least-squares line of ratings on predictions; 1 if calibrated, below 1 if predictions spread too
    far; absent if all predictions are equal."""


class HeldoutScore(RecordPart):
    """The score of one held-out set, after the last step.

    After pretraining only supervised tokens count. Of pairs, these are those of the chosen answers, and `documents`
    counts both.
    """

    loss: float
    """Nats per token, including EODs. Of a reward model nats per pair, or squared error per rated attribute."""
    attributes: dict[str, AttributeScore] | None = Field(default=None, exclude_if=lambda given: given is None)
    """Of a set of rated answers, by attribute; absent from the file for others."""
    pairs: PairScore | None = Field(default=None, exclude_if=lambda pairs: pairs is None)
    """Of a set of pairs; absent from the file for others."""
    kl: float | None = Field(default=None, exclude_if=lambda given: given is None)
    """After preference optimization, of a set of conversations: mean divergence KL(model || starting checkpoint) in
    nats, at the supervised tokens."""
    kl_interval: Interval | None = Field(default=None, exclude_if=lambda given: given is None)
    """Of `kl`: a 95% interval over prompts."""
    answers: Literal[True] | None = Field(default=None, exclude_if=lambda given: given is None)
    """True if tokens and bytes are those of answers; absent from the file if whole texts are scored."""
    bits_per_byte: float | None
    """None for a reward model, which predicts no text."""
    tokens: NonNegativeInt
    """Scored targets. Of a reward model pairs, or rated attributes."""
    bytes: NonNegativeInt
    """UTF-8 bytes of the texts, before the tokenizer's normalizer."""
    documents: NonNegativeInt
    texts_sha256: str
    """Of the held-out texts: equal in two builds that share the set, even with different tokenizers."""
    datasets_sha256: str
    """Of the checksums of the set's parts: identifies the scored tokens."""

    @property
    def default_score(self) -> Literal["bits_per_byte", "wrong_pairs", "mean_squared_error", "loss"]:
        """What a comparison minimizes if the spec names no objective."""
        if self.pairs is not None:
            return "wrong_pairs"
        if self.attributes is not None:
            return "mean_squared_error"
        return "loss" if self.bits_per_byte is None else "bits_per_byte"

    @property
    def unit(self) -> str:
        """Name of `minimized`."""
        if self.pairs is not None:
            return "share of wrong pairs"
        if self.bits_per_byte is None:
            return "squared error"
        return "bits per byte of answers" if self.answers else "bits per byte"

    @property
    def minimized(self) -> float:
        """What a comparison minimizes: bits per byte; share of wrong pairs; squared error per rated attribute."""
        if self.pairs is not None:
            return 1 - self.pairs.pair_accuracy
        return self.loss if self.bits_per_byte is None else self.bits_per_byte


class EvaluationRecord(RecordPart):
    """How the held-out sets were scored."""

    protocol: int
    sequence_length: int
