"""Parts of a run's record about what it read: draws, delivered tokens by source, phases."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import NonNegativeInt

from .record_part import RecordPart, SparseRecordPart


class DrawRecord(SparseRecordPart):
    """The part of a source that the runs of a spec can read."""

    key: str
    documents: NonNegativeInt
    tokens: NonNegativeInt
    bin_sha256: str
    idx_sha256: str
    provenance_sha256: str
    cut_tokens: NonNegativeInt | None = None
    """Unique tokens to which the source was cut, to repeat it as a larger run would; absent if it was not cut."""
    mask_sha256: str | None = None
    """Of the mask of supervised tokens; absent if the source has none."""


class FimRecord(RecordPart):
    """Fill-in-the-middle of one source, as declared."""

    rate: str
    """Share of the documents, or pieces, that are transformed; an exact string."""
    spm_rate: str
    """Share of the transformed ones that are read suffix first; an exact string."""
    unit: Literal["document", "piece"]
    """What is transformed: documents, or their pieces in packed windows."""
    sentinels: tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt]
    """Ids that come before prefix, suffix and middle."""


class FimDelivered(RecordPart):
    """What a run read of a source with fill-in-the-middle. Of `unit: piece`, pieces stand for documents."""

    documents: NonNegativeInt
    """Documents whose first token was read, transformed or not, counted in each pass."""
    psm_documents: NonNegativeInt
    """Of these, read as prefix, suffix, middle."""
    spm_documents: NonNegativeInt
    """Of these, read as suffix, prefix, middle."""
    psm_tokens: NonNegativeInt
    """Tokens read of documents in the order prefix, suffix, middle, with sentinels."""
    spm_tokens: NonNegativeInt
    """Tokens read of documents in the order suffix, prefix, middle, with sentinels."""

    @property
    def rate(self) -> float:
        """Share of the documents that were transformed."""
        return (self.psm_documents + self.spm_documents) / max(self.documents, 1)


class DeliveredRecord(SparseRecordPart):
    """What the run consumed of one source, replayed from the index at the checkpoint's consumed samples."""

    samples: NonNegativeInt
    tokens: NonNegativeInt
    """Samples × sequence length."""
    epochs: float
    """Passes over the source: 2.0 means that every window of its training side was seen twice."""
    declared: float
    """Share of the run's tokens that the spec declares, over all phases; after pretraining, of what shares count."""
    planned: NonNegativeInt
    """Tokens in the budget: planned samples × sequence length. After pretraining, the supervised tokens of the planned
    windows."""
    unique_tokens: NonNegativeInt
    """Tokens of the draw that were seen at least once."""
    targets: NonNegativeInt | None = None
    """Tokens that counted in the loss under `eod_mask_loss` or best-fit packing; absent without these."""
    supervised_tokens: NonNegativeInt | None = None
    """After pretraining: supervised tokens of the windows read, replayed from the mask. supervised + context + padding
    = tokens."""
    context_tokens: NonNegativeInt | None = None
    """After pretraining: tokens that were read and not predicted."""
    padding_tokens: NonNegativeInt | None = None
    """After pretraining: positions without a token."""
    examples: NonNegativeInt | None = None
    """After pretraining: conversations read."""
    fim: FimDelivered | None = None
    """Absent for a source without fill-in-the-middle."""

    @property
    def counted_tokens(self) -> int:
        """The tokens that `planned` speaks of: supervised ones after pretraining, else all."""
        return self.tokens if self.supervised_tokens is None else self.supervised_tokens


class PhaseRecord(RecordPart):
    """A range of the run's samples with its own shares."""

    first_sample: NonNegativeInt
    samples: NonNegativeInt
    samples_of: dict[str, NonNegativeInt]
    """By source with a positive share; sums to `samples` exactly."""


class LossShares(NamedTuple):
    """A source's weight in the loss, and its share of the loss's weight: as declared, planned and delivered."""

    weight: float
    declared: float
    planned: float
    delivered: float
