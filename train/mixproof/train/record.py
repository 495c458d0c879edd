"""A run's record, `run.json`, written last: what was trained, on which tokens, and the results.

A run is mixture × proxy × seed. Its folder is `<store>/train/<key>/`; paths in the record are relative to it. Nothing
in the record depends on time, machine, device or location. Wall times, tokens per second, versions and resume points
are in `circumstances.json` beside it, so a resumed run has the same record as an uninterrupted one. A failed run has a
record as well, with the reason and what it did until then; only `done` counts as finished.
"""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from mixproof.ledger.errors import RequestError
from mixproof.ledger.receipt import RECEIPT, Receipt, StoredFile
from mixproof.ledger.store import Store

RUN = "run.json"
IDENTITY = "identity.json"
"""Beside the record: the canonical JSON whose SHA-256 is the run's key, and with it the folder's name."""
TRAIN = "train"
EVALUATION_PROTOCOL = 1
"""Version of the scoring of held-out sets; rises when a model's score on the same set would change."""
EXTERNAL = "external"
"""The folder of a run with its scores on external sets and tasks."""
EXTERNAL_VERSION = 3
"""Rises when a model's score on the same texts or tasks would change, or when the form changes."""


class RecordPart(BaseModel):
    """A frozen part of a record or request; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SparseRecordPart(RecordPart):
    """A part that writes no key for a value that is None."""

    @model_serializer(mode="wrap")
    def _drop_none(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return {name: value for name, value in written.items() if value is not None}


class ParametersRecord(RecordPart):
    """Number of parameters; tied embeddings count once."""

    total: NonNegativeInt
    non_embedding: NonNegativeInt


class ArchitectureRecord(RecordPart):
    """Shape of the model: 32 decoder layers for the shipped proxies, grouped-query attention, SwiGLU."""

    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int


class MasksRecord(SparseRecordPart):
    """How documents fill windows, which tokens a token attends to, and which targets count in the loss."""

    document_mask: bool
    eod_mask_loss: bool
    reset_position_ids: bool
    best_fit: Literal[True] | None = None
    """Whether windows have whole documents, packed by best fit; absent if documents are concatenated."""
    supervised: Literal[True] | None = None
    """Whether only supervised tokens count in the loss, as after pretraining; absent if all do."""
    pairs: Literal[True] | None = None
    """Whether windows hold pairs of answers, chosen and rejected; absent if not."""


class InitRecord(SparseRecordPart):
    """The checkpoint that a run started from."""

    sha256: str
    prior_tokens: NonNegativeInt
    """Tokens that the checkpoint was trained on."""
    optimizer: Literal[True] | None = None
    """Whether the run also took its optimizer's moments and step count; absent if not."""


class RunTokenizer(SparseRecordPart):
    """The tokenizer of the build, and whether it restores the held-out texts."""

    sha256: str
    vocab_size: NonNegativeInt
    eod_id: NonNegativeInt
    bos_id: NonNegativeInt | None = None
    """Id that begins every document; absent when documents begin with their text."""
    lossless: bool
    """Whether decoding the ids of every held-out document gives its text, byte for byte."""


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
    bits_per_byte: float | None
    """None for a reward model, which predicts no text."""
    tokens: NonNegativeInt
    """Scored targets. Of a reward model pairs, or rated attributes."""
    bytes: NonNegativeInt
    """UTF-8 bytes of the texts, before the tokenizer's normalizer."""
    documents: NonNegativeInt
    texts_sha256: str
    """Of the held-out texts: equal in two builds that share the set, whatever their tokenizer."""
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
        return "squared error" if self.bits_per_byte is None else "bits per byte"

    @property
    def minimized(self) -> float:
        """What a comparison minimizes: bits per byte; share of wrong pairs; squared error per rated attribute."""
        if self.pairs is not None:
            return 1 - self.pairs.pair_accuracy
        return self.loss if self.bits_per_byte is None else self.bits_per_byte


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


class EvaluationRecord(RecordPart):
    """How the held-out sets were scored."""

    protocol: int
    sequence_length: int


class LossShares(NamedTuple):
    """A source's weight in the loss, and its share of the loss's weight: as declared, planned and delivered."""

    weight: float
    declared: float
    planned: float
    delivered: float


class RunRecord(RecordPart):
    """The record of a run."""

    schema_: Literal[1] = 1
    key: str
    build: str
    """SHA-256 of the build's manifest."""
    spec_name: str
    mixture: str
    proxy: str
    seed: int
    parameters: ParametersRecord
    architecture: ArchitectureRecord
    dtype: Literal["float32", "bfloat16"]
    """Of the forward pass; weights and optimizer state are float32."""
    sequence_length: int
    global_batch_size: int
    tokens_declared: int
    tokens_planned: int
    """Declared tokens, rounded up to whole steps."""
    consumed_samples: int
    consumed_tokens: int
    steps: int
    flops: int
    """Of training, forward and backward, as counted in `proxies.py`."""
    recipe: dict[str, str]
    """Learning rates, warm-up, decay, weight decay, clip and betas as exact strings."""
    masks: MasksRecord
    rope_base: int
    references: dict[str, str] | None = Field(default=None, exclude_if=lambda given: given is None)
    """SHA-256 of the log-probabilities by the starting checkpoint, by path in the store; absent if none were needed."""
    post_training: PostTraining | None = Field(default=None, exclude_if=lambda given: given is None)
    """Absent from the file for pretraining."""
    loss_weights: dict[str, str] | None = Field(default=None, exclude_if=lambda given: given is None)
    """Weight of each source's targets in the loss, as exact strings; absent from the file when all are 1."""
    fim: dict[str, FimRecord] | None = Field(default=None, exclude_if=lambda given: given is None)
    """Fill-in-the-middle by source; absent from the file when no source has it."""
    init_from: InitRecord | None
    prior_tokens: int
    tokenizer: RunTokenizer
    draws: dict[str, DrawRecord]
    delivered: dict[str, DeliveredRecord]
    phases: tuple[PhaseRecord, ...]
    heldout: dict[str, HeldoutScore]
    evaluation: EvaluationRecord
    index: dict[str, str]
    """SHA-256 of each index array of the streams and the blend, by file name."""
    files: dict[str, str]
    """SHA-256 of the files of the last checkpoint, the metrics and the scores, by file name."""
    status: Literal["done", "failed"]
    reason: str | None = None
    """Why the run failed."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=lambda name: name.rstrip("_"), populate_by_name=True
    )

    def loss_shares(self) -> dict[str, LossShares]:
        """What each source counts in the loss, for a run with weights; empty for one without."""
        if self.loss_weights is None:
            return {}
        weights = {source: float(Fraction(self.loss_weights[source])) for source in self.delivered}
        counts = {
            source: (one.declared, one.planned, one.counted_tokens if one.targets is None else one.targets)
            for source, one in self.delivered.items()
        }
        totals = [sum(weights[source] * count[column] for source, count in counts.items()) for column in range(3)]
        return {
            source: LossShares(
                weights[source],
                *(weights[source] * count / total for count, total in zip(counts[source], totals, strict=True)),
            )
            for source in self.delivered
        }

    def to_bytes(self) -> bytes:
        """Return the bytes of the record file: JSON with sorted keys and an indent of one."""
        data = self.model_dump(mode="json", by_alias=True)
        return (json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()

    @property
    def sha256(self) -> str:
        """Hash the bytes of the record file."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def run_folder(store: Store, key: str) -> Path:
    """Return the folder of the run `key` of `store` on this machine; copies nothing."""
    return store.root / TRAIN / key


def write_run(store: Store, record: RunRecord) -> Path:
    """Publish the receipt with the record's checksum, then the record, into the run's folder; return its path."""
    folder, data = f"{TRAIN}/{record.key}", record.to_bytes()
    sealed = {RUN: StoredFile(sha256=record.sha256, bytes=len(data))}
    store.write(f"{folder}/{RECEIPT}", Receipt(stage=TRAIN, key=record.key, files=sealed).to_bytes())
    return store.write(f"{folder}/{RUN}", data)


def read_run(path: Path) -> RunRecord:
    """Read and validate a record.

    Raises:
        RequestError: when the file does not exist or does not follow the schema.
    """
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise RequestError(f"{path}: no run record; `mixproof train` writes one when a run ends") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RequestError(
            f"{path}: not a run record of schema 1 ({where}: {first['msg']}); delete the run's folder to train it again"
        ) from None
