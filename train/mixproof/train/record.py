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
from typing import Literal

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeInt,
    ValidationError,
)

from mixproof.ledger.errors import RequestError
from mixproof.ledger.records.stored_path import StoredPath
from mixproof.ledger.store import Store
from mixproof.ledger.store.receipt import RECEIPT, Receipt, StoredFile

from .delivered_record import DeliveredRecord, DrawRecord, FimRecord, LossShares, PhaseAccount, PhaseRecord
from .record_part import RecordPart, SparseRecordPart
from .score_record import EvaluationRecord, HeldoutScore
from .stage_record import PostTraining

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


class RunRecord(RecordPart):
    """The record of a run."""

    schema_: Literal[1] = 1
    key: StoredPath
    build: StoredPath
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
    references: dict[StoredPath, str] | None = Field(default=None, exclude_if=lambda given: given is None)
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
    draws: dict[StoredPath, DrawRecord]
    delivered: dict[StoredPath, DeliveredRecord]
    phases: tuple[PhaseRecord, ...]
    phase_accounts: tuple[dict[str, PhaseAccount], ...] | None = Field(
        default=None, exclude_if=lambda given: given is None
    )
    """Account of each phase by source; absent if no phase has its own sequence length, rotary base or documents."""
    heldout: dict[str, HeldoutScore]
    evaluation: EvaluationRecord
    index: dict[StoredPath, str]
    """SHA-256 of each index array of the streams and the blend, by file name."""
    files: dict[StoredPath, str]
    """SHA-256 of the files of the last checkpoint, the metrics and the scores, by file name."""
    status: Literal["done", "failed"]
    reason: str | None = None
    """Why the run failed."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=lambda name: name.rstrip("_"), populate_by_name=True
    )

    @property
    def last_rope_base(self) -> int:
        """Rotary base at the end of the run."""
        return self.phases[-1].rope_base or self.rope_base if self.phases else self.rope_base

    @property
    def longest_sequence(self) -> int:
        """Tokens of the longest samples that the run read."""
        return max([self.sequence_length, *(phase.sequence_length or 0 for phase in self.phases)])

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
