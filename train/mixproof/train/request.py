"""A run request: everything that a worker needs to train a run, as plain JSON.

The identity covers what changes the result: the build, draws and held-out sets by their checksums, shape, recipe,
budget, masks, seed, evaluation protocol. Paths, the device, the micro batch size, ranks, processors and GPUs are
execution, and the spec's name is only a label; none of them is in the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from mixproof.ledger.fingerprint import sha256_of, stage_identity
from mixproof.ledger.records.datasets import DatasetRecord, HeldoutRecord
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.blocks.train import Architecture

from .delivered_record import DrawRecord, FimRecord
from .record import EVALUATION_PROTOCOL, TRAIN, ArchitectureRecord, InitRecord, MasksRecord
from .record_part import RecordPart, SparseRecordPart
from .stage_record import PostTraining

TRAIN_VERSION = 4
"""Rises when the same request would train to different weights."""
MAX_SEED = 2**63 - 1
"""Tables and JSON readers have 64-bit integers."""
NOT_IN_IDENTITY = (
    "store",
    "spec_name",
    "tokenizer",
    "draws",
    "heldout",
    "device",
    "micro_batch_size",
    "resources",
    "recompute",
    "checkpoint_keep",
    "init_from",
    "wandb",
)
"""Fields that enter the identity only through their contents, or not at all."""


@dataclass(frozen=True)
class Draw:
    """A finished draw in the store."""

    source: str
    key: str
    prefix: str
    """Of the `.bin` and `.idx`, relative to the store."""
    documents: int
    tokens: int
    """EODs included."""
    bin_sha256: str
    idx_sha256: str
    provenance: str
    provenance_sha256: str
    dataset_documents: int
    """Of the dataset that it was drawn from; of the draw itself if the source is cut to it."""
    dataset_tokens: int
    cut_tokens: int | None = None
    """Unique tokens to which the source is cut; None: it is not cut."""
    mask_sha256: str | None = None
    """Of the `.mask`; None: the source has no mask."""
    part: tuple[int, ...] | None = None
    min_tokens: int | None = None
    available_documents: int | None = None
    available_tokens: int | None = None
    shared_documents: int | None = None
    shared_tokens: int | None = None
    other_parts: tuple[int, ...] | None = None
    """These as in `DrawRecord`."""

    @property
    def as_part(self) -> DatasetRecord:
        """The draw in the form of a dataset's part."""
        return DatasetRecord(
            prefix=self.prefix,
            documents=self.documents,
            tokens=self.tokens,
            bin_sha256=self.bin_sha256,
            idx_sha256=self.idx_sha256,
            provenance=self.provenance,
            provenance_sha256=self.provenance_sha256,
        )

    @property
    def record(self) -> DrawRecord:
        """The draw as it is stated in a run's record."""
        return DrawRecord(
            key=self.key,
            documents=self.documents,
            tokens=self.tokens,
            bin_sha256=self.bin_sha256,
            idx_sha256=self.idx_sha256,
            provenance_sha256=self.provenance_sha256,
            cut_tokens=self.cut_tokens,
            mask_sha256=self.mask_sha256,
            part=self.part,
            min_tokens=self.min_tokens,
            available_documents=self.available_documents,
            available_tokens=self.available_tokens,
            shared_documents=self.shared_documents,
            shared_tokens=self.shared_tokens,
            other_parts=self.other_parts,
        )


def checksums_of(part: DatasetRecord) -> list[str]:
    """Checksums of the files of a dataset's part; that of the mask is last, if there is one."""
    mask = [] if part.mask_sha256 is None else [part.mask_sha256]
    return [part.bin_sha256, part.idx_sha256, part.provenance_sha256, *mask]


class Recipe(SparseRecordPart):
    """Optimizer and schedule settings; exact decimals as strings, as in the spec."""

    lr: str
    min_lr: str
    shape: str
    """Shape of the decay: linear, cosine, exponential or minus_sqrt."""
    weight_decay: str
    clip: str
    """Largest gradient norm; 0: not clipped."""
    betas: tuple[str, str]
    mup_base_hidden: str | None = None
    """Hidden size from which initial weights and rates are scaled (muP); None: not scaled, and not in the key."""
    mup_output: str | None = None
    """Factor on the logits at that hidden size; None: 1, and not in the key."""


class Resources(RecordPart):
    """The resources of a run."""

    ranks: int = 1
    """Data-parallel processes."""
    cpus: float = 1
    """Processors per rank; on the CPU a rank computes with as many threads, at least one."""
    gpus: float = 0
    """GPUs per rank; may be a fraction."""

    @property
    def threads(self) -> int:
        """Threads per rank on the CPU."""
        return max(1, int(self.cpus))


class InitialCheckpoint(RecordPart):
    """A checkpoint to start from."""

    path: str
    """Absolute path of the `.pt` file, or of the folder of a torch_dist checkpoint or Hugging Face model."""
    sha256: str
    """Of the file, or of the names and checksums of the files of the folder."""
    prior_tokens: int
    optimizer: bool = False
    """Whether its optimizer's moments and step count are taken as well."""

    @property
    def record(self) -> InitRecord:
        """The checkpoint as it is stated in the run's record."""
        return InitRecord(
            sha256=self.sha256, prior_tokens=self.prior_tokens, optimizer=True if self.optimizer else None
        )


def tokenizer_identity(tokenizer: TokenizerRecord) -> list[str | int]:
    """What keys say of a tokenizer; without its BOS where documents begin with their text."""
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    return [tokenizer.sha256, tokenizer.vocab_size, tokenizer.eod_id, *bos]


class RunRequest(RecordPart):
    """One run: mixture × proxy × seed."""

    store: str
    build: str
    """SHA-256 of the build's manifest."""
    spec_name: str
    mixture: str
    proxy: str
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)]
    architecture: ArchitectureRecord
    recipe: Recipe
    masks: MasksRecord
    rope_base: int
    budget: RunBudget
    tokenizer: TokenizerRecord
    draws: dict[str, Draw]
    """Of every stream that is read, by its name; the name of a source if all phases have the run's length and read all
    documents."""
    heldout: dict[str, HeldoutRecord]
    """Held-out set of every source that has one."""
    device: Literal["cpu", "cuda"]
    micro_batch_size: int | None
    """Samples per forward pass and rank; None: chosen by the device."""
    resources: Resources = Resources()
    evaluate_steps: int | None = None
    """Steps between two evaluations on the held-out sets; None: only at the end, and then it is not in the key."""
    recompute: bool = False
    """Whether the backward pass recomputes the layers' activations."""
    checkpoint_keep: int | None = None
    """Number of newest checkpoints to keep; None: all."""
    init_from: InitialCheckpoint | None = None
    """Checkpoint that the weights start from; None: they are initialized from the seed."""
    post_training: PostTraining | None = None
    """Stage and plan of a run after pretraining; None: pretraining, and then it is not in the key."""
    loss_weights: dict[str, str] | None = None
    """Weight of each source's targets in the loss, as exact strings; None: all 1, and then it is not in the key."""
    fim: dict[str, FimRecord] | None = None
    """Fill-in-the-middle by source; None: no source has it, and then it is not in the key."""
    wandb: str | None = None
    """Weights & Biases project that gets the curves; None: none."""

    @property
    def name(self) -> str:
        """Display name: mixture, proxy and seed."""
        return f"{self.mixture} × {self.proxy} × seed {self.seed}"

    @property
    def shape(self) -> Architecture:
        """Shape of the model."""
        return Architecture(**self.architecture.model_dump())

    @property
    def identity(self) -> dict[str, object]:
        """Everything that the key hashes; its canonical JSON is `identity.json` beside the record."""
        optional = ("evaluate_steps", "post_training", "loss_weights", "fim")
        absent = {name for name in optional if getattr(self, name) is None}
        config = self.model_dump(mode="json", exclude={*NOT_IN_IDENTITY, *absent})
        config["budget"]["phases"] = [phase.identity for phase in self.budget.phases]
        if self.init_from is not None:
            config["init_from"] = self.init_from.record.model_dump(mode="json")
        inputs = {
            "tokenizer": tokenizer_identity(self.tokenizer),
            "draws": {name: draw.record.model_dump(mode="json") for name, draw in self.draws.items()},
            "heldout": {
                name: [checksums_of(part) for part in heldout.datasets] for name, heldout in self.heldout.items()
            },
        }
        return stage_identity(TRAIN, TRAIN_VERSION, {**config, "evaluation": EVALUATION_PROTOCOL}, inputs)

    @property
    def key(self) -> str:
        """SHA-256 of the identity's canonical JSON, which is the name of the run's folder."""
        return sha256_of(self.identity)
