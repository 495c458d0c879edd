"""Parts of a run's record about what it read: draws, delivered tokens by source, phases."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import NonNegativeInt, PositiveInt

from mixproof.ledger.records.stored_path import StoredPath
from mixproof.mixtures.arithmetic.phase_streams import stream_name

from .record_part import RecordPart, SparseRecordPart


class DrawRecord(SparseRecordPart):
    """The part of a source that the runs of a spec can read."""

    key: StoredPath
    documents: NonNegativeInt
    tokens: NonNegativeInt
    bin_sha256: str
    idx_sha256: str
    provenance_sha256: str
    cut_tokens: NonNegativeInt | None = None
    """Unique tokens to which the source was cut, to repeat it as a larger run would; absent if it was not cut."""
    mask_sha256: str | None = None
    """Of the mask of supervised tokens; absent if the source has none."""
    part: tuple[NonNegativeInt, ...] | None = None
    """The source is divided among sequence lengths: tokens of each part up to this one. Each part takes documents, in
    the order of text hashes, until it has its tokens. Absent if the draw is the first part, or the source is whole."""
    min_tokens: NonNegativeInt | None = None
    """Fewest tokens of its documents; absent without a bound."""
    available_documents: NonNegativeInt | None = None
    """With `part` or `min_tokens`: documents that the draw could have."""
    available_tokens: NonNegativeInt | None = None
    """Tokens of these."""
    shared_documents: NonNegativeInt | None = None
    """With `min_tokens`: documents of the draw that phases without `min_tokens` draw as well."""
    shared_tokens: NonNegativeInt | None = None
    """Tokens of these."""
    other_parts: tuple[NonNegativeInt, ...] | None = None
    """With `min_tokens`: tokens of the parts that phases without `min_tokens` draw; documents in none of them are drawn
    first."""


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
        """The tokens that `planned` counts: supervised ones after pretraining, else all."""
        return self.tokens if self.supervised_tokens is None else self.supervised_tokens


class PhaseRecord(SparseRecordPart):
    """A range of the run's samples with its own shares."""

    first_sample: NonNegativeInt
    """Of the run's `sequence_length`."""
    samples: NonNegativeInt
    """Of the run's `sequence_length`."""
    samples_of: dict[str, NonNegativeInt]
    """By source with a positive share; sums to `samples` exactly. In a phase with its own `sequence_length`, samples of
    this length; their tokens sum to those of the phase."""
    sequence_length: PositiveInt | None = None
    """Absent if it is that of the run."""
    rope_base: PositiveInt | None = None
    """Absent if it is that of the run."""
    min_tokens: dict[str, PositiveInt] | None = None
    """Fewest tokens of a document, by source; absent without a bound."""
    declared: dict[str, str] | None = None
    """Exact share of each source in the phase; absent if no phase has its own length, rotary base or documents."""

    def stream_of(self, source: str) -> str:
        """Return the name of the stream that the phase reads of a source."""
        return stream_name(source, self.sequence_length, (self.min_tokens or {}).get(source))


class PhaseAccount(RecordPart):
    """What one phase was to read, and read, of one source."""

    available_documents: NonNegativeInt
    """Documents that the phase can draw from: in its part of the source, and long enough for its `min_tokens`."""
    available_tokens: NonNegativeInt
    """Tokens of these."""
    drawn_documents: NonNegativeInt
    """Documents in the draw."""
    drawn_tokens: NonNegativeInt
    """Tokens of these."""
    also_drawn_documents: NonNegativeInt
    """Of the documents in the draw, those that phases without `min_tokens` draw as well, and may have read before."""
    also_drawn_tokens: NonNegativeInt
    """Tokens of these."""
    declared: float
    """Share of the phase's tokens."""
    planned: NonNegativeInt
    """Tokens."""
    delivered: NonNegativeInt
    """Tokens."""
    epochs: float
    """Passes over the available documents: 2.0 means that every window of theirs was read twice in this phase."""


class LossShares(NamedTuple):
    """A source's weight in the loss, and its share of the loss's weight: as declared, planned and delivered."""

    weight: float
    declared: float
    planned: float
    delivered: float
