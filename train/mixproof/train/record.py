"""A run's record: what was trained, on which tokens, and what came out; `run.json`, written last.

A run is mixture × proxy × seed. Its folder is `<store>/train/<key>/`; paths in the record are relative to it.
Nothing in the record depends on time, machine, device or place: wall times, tokens per second, versions and
where a run was resumed stand in `circumstances.json` beside it, so that a resumed run has the record of an
uninterrupted one. A run that failed has a record as well, with its reason and what it had done until then;
only `done` counts as finished.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
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
"""How held-out sets are scored; rises when a score of the same model on the same set would change."""
EXTERNAL = "external"
"""The folder of a run that holds its scores on external sets and tasks."""
EXTERNAL_VERSION = 2
"""Rises when the same model would score differently on the same texts or tasks, or when the form changes."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ParametersRecord(_Part):
    """Number of weights; tied embeddings count once."""

    total: NonNegativeInt
    non_embedding: NonNegativeInt


class ArchitectureRecord(_Part):
    """Shape of the model: 32 decoder layers for the shipped proxies, grouped-query attention, SwiGLU."""

    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int


class MasksRecord(_Part):
    """What a token may see and which targets count."""

    document_mask: bool
    eod_mask_loss: bool
    reset_position_ids: bool


class InitRecord(_Part):
    """The checkpoint that a run started from."""

    sha256: str
    prior_tokens: NonNegativeInt
    """Tokens that it had been trained on before."""
    optimizer: Literal[True] | None = None
    """Its optimizer's moments and count of steps were taken as well; not written where they were not."""

    @model_serializer(mode="wrap")
    def _without_none(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return {name: value for name, value in written.items() if value is not None}


class RunTokenizer(_Part):
    """The tokenizer of the build, and whether it gives the held-out texts back."""

    sha256: str
    vocab_size: NonNegativeInt
    eod_id: NonNegativeInt
    lossless: bool
    """Decoding every held-out document's ids gives its text, byte for byte."""


class DrawRecord(_Part):
    """The part of a source that the run's family can touch."""

    key: str
    documents: NonNegativeInt
    tokens: NonNegativeInt
    bin_sha256: str
    idx_sha256: str
    provenance_sha256: str
    cut_tokens: NonNegativeInt | None = None
    """Unique tokens to which the source was cut, to repeat it as a larger run would; not written where it was not."""

    @model_serializer(mode="wrap")
    def _without_none(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return {name: value for name, value in written.items() if value is not None}


class DeliveredRecord(_Part):
    """What the run consumed of one source, replayed from the index at the checkpoint's consumed samples."""

    samples: NonNegativeInt
    tokens: NonNegativeInt
    """Samples × sequence length."""
    epochs: float
    """Passes over the source: 2.0 means that every window of its training side was seen twice."""
    declared: float
    """Share of the run's tokens that the spec asks for, over all phases."""
    planned: NonNegativeInt
    """Tokens by the budget: planned samples × sequence length."""
    unique_tokens: NonNegativeInt
    """Tokens of the draw that were seen at least once."""
    targets: NonNegativeInt | None = None
    """Tokens that counted in the loss, where `eod_mask_loss` took some out; not written where it did not."""

    @model_serializer(mode="wrap")
    def _without_none(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return {name: value for name, value in written.items() if value is not None}


class PhaseRecord(_Part):
    """A stretch of the run with shares of its own, in samples."""

    first_sample: NonNegativeInt
    samples: NonNegativeInt
    samples_of: dict[str, NonNegativeInt]
    """Per source with a positive share; sums to `samples` exactly."""


class HeldoutScore(_Part):
    """The score of one held-out set, after the last step."""

    loss: float
    """Nats per token, EODs included."""
    bits_per_byte: float
    tokens: NonNegativeInt
    bytes: NonNegativeInt
    """UTF-8 bytes of the texts, before the tokenizer's normalizer."""
    documents: NonNegativeInt
    texts_sha256: str
    """Of the held-out texts: equal in two builds that share the set, whatever their tokenizer."""
    datasets_sha256: str
    """Of the parts' checksums: which tokens were scored."""


class EvaluationRecord(_Part):
    """How the held-out sets were scored."""

    protocol: int
    sequence_length: int


class RunRecord(_Part):
    """The statement of a run."""

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
    """Arithmetic of the forward pass; weights and optimizer state are float32."""
    sequence_length: int
    global_batch_size: int
    tokens_declared: int
    tokens_planned: int
    """Declared, rounded up to whole steps."""
    consumed_samples: int
    consumed_tokens: int
    steps: int
    flops: int
    """Of training, forward and backward, by the count in `proxies.py`."""
    recipe: dict[str, str]
    """Learning rates, warm-up and decay, weight decay, clip, betas: exact strings."""
    masks: MasksRecord
    rope_base: int
    init_from: InitRecord | None
    prior_tokens: int
    tokenizer: RunTokenizer
    draws: dict[str, DrawRecord]
    delivered: dict[str, DeliveredRecord]
    phases: tuple[PhaseRecord, ...]
    heldout: dict[str, HeldoutScore]
    evaluation: EvaluationRecord
    index: dict[str, str]
    """SHA-256 of each index array of the streams and the blend, by file."""
    files: dict[str, str]
    """SHA-256 of the checkpoint's files, the metrics and the scores, by file."""
    status: Literal["done", "failed"]
    reason: str | None = None
    """Why the run failed."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=lambda name: name.rstrip("_"), populate_by_name=True
    )

    def to_bytes(self) -> bytes:
        """The record file's bytes: JSON with sorted keys and an indent of one."""
        data = self.model_dump(mode="json", by_alias=True)
        return (json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()

    @property
    def sha256(self) -> str:
        """Of the record file's bytes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def run_folder(store: Store, key: str) -> Path:
    """Where the run `key` of `store` lives on this machine; nothing is copied there."""
    return store.root / TRAIN / key


def write_run(store: Store, record: RunRecord) -> Path:
    """Publish the record into its run's folder, behind the receipt that seals its bytes; return its path."""
    place, data = f"{TRAIN}/{record.key}", record.to_bytes()
    sealed = {RUN: StoredFile(sha256=record.sha256, bytes=len(data))}
    store.write(f"{place}/{RECEIPT}", Receipt(stage=TRAIN, key=record.key, files=sealed).to_bytes())
    return store.write(f"{place}/{RUN}", data)


def read_run(path: Path) -> RunRecord:
    """Read and validate a record.

    Raises:
        RequestError: when there is no such file, or it does not follow the schema.
    """
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise RequestError(f"{path}: no run record there; `mixproof train` writes one") from None
    except ValidationError as error:
        raise RequestError(f"{path}: not a run record of schema 1: {error}") from None
