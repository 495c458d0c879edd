"""A run as it is asked for: everything that a worker needs to train it, as plain JSON.

The identity is what changes the result: the build, draws and held-out sets by their checksums, shape, recipe,
budget, masks, seed, evaluation protocol. Names of places, the device, the micro batch, ranks, processors and GPUs are
execution, and the spec's name is only a label; none of these is in the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from mixproof.ledger.fingerprint import sha256_of, stage_identity
from mixproof.ledger.manifest import HeldoutRecord, TokenizerRecord
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.train_spec import Architecture

from .record import EVALUATION_PROTOCOL, TRAIN, ArchitectureRecord, DrawRecord, InitRecord, MasksRecord

TRAIN_VERSION = 4
"""Rises when the same request would train to other weights."""
OUTSIDE = (
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
"""Fields of a request that are no part of its identity as they are: by their contents, or not at all."""


@dataclass(frozen=True)
class Draw:
    """A draw that lies finished in the store."""

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
    """Of the dataset that it was drawn from; of the draw itself where the source is cut to it."""
    dataset_tokens: int
    cut_tokens: int | None = None
    """Unique tokens to which the source is cut; None: it is not."""

    @property
    def record(self) -> DrawRecord:
        """What a run's record says about it."""
        return DrawRecord(
            key=self.key,
            documents=self.documents,
            tokens=self.tokens,
            bin_sha256=self.bin_sha256,
            idx_sha256=self.idx_sha256,
            provenance_sha256=self.provenance_sha256,
            cut_tokens=self.cut_tokens,
        )


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Recipe(_Part):
    """How fast a run learns; exact decimals as strings, as the spec gives them."""

    lr: str
    min_lr: str
    shape: str
    """Of the decay: linear, cosine, exponential or minus_sqrt."""
    weight_decay: str
    clip: str
    """Largest gradient norm; 0: not clipped."""
    betas: tuple[str, str]


class Resources(_Part):
    """What a run is given to compute with."""

    ranks: int = 1
    """Processes that share every step."""
    cpus: float = 1
    """Processors a rank; on the CPU it computes with as many threads, one at least."""
    gpus: float = 0
    """Part of a GPU a rank."""

    @property
    def threads(self) -> int:
        """Threads a rank on the CPU."""
        return max(1, int(self.cpus))


class InitialCheckpoint(_Part):
    """A checkpoint to start from, as it was found."""

    path: str
    """Absolute: the `.pt` file, or the folder of a torch_dist checkpoint."""
    sha256: str
    """Of the file; of names and checksums of the files of a folder."""
    prior_tokens: int
    optimizer: bool = False
    """Whether the moments and the count of steps of its optimizer are taken as well."""

    @property
    def record(self) -> InitRecord:
        """What the run's record says about it."""
        return InitRecord(
            sha256=self.sha256, prior_tokens=self.prior_tokens, optimizer=True if self.optimizer else None
        )


class RunRequest(_Part):
    """One run: mixture × proxy × seed."""

    store: str
    build: str
    """SHA-256 of the build's manifest."""
    spec_name: str
    mixture: str
    proxy: str
    seed: int
    architecture: ArchitectureRecord
    recipe: Recipe
    masks: MasksRecord
    rope_base: int
    budget: RunBudget
    tokenizer: TokenizerRecord
    draws: dict[str, Draw]
    """Of every source with samples."""
    heldout: dict[str, HeldoutRecord]
    """Held-out side of every source that has one."""
    device: Literal["cpu", "cuda"]
    micro_batch_size: int | None
    """Samples per forward pass and rank; None: by the device."""
    resources: Resources = Resources()
    evaluate_steps: int | None = None
    """Steps between two scorings of the held-out sets; None: at the end only, and then it is not in the key either."""
    recompute: bool = False
    """Whether the backward pass makes the layers' activations again."""
    checkpoint_keep: int | None = None
    """Newest checkpoints that stay; None: all."""
    init_from: InitialCheckpoint | None = None
    """What the weights start from; None: from the seed."""
    wandb: str | None = None
    """Project of Weights & Biases that gets the curves; None: none."""

    @property
    def name(self) -> str:
        """For people: mixture, proxy and seed."""
        return f"{self.mixture} × {self.proxy} × seed {self.seed}"

    @property
    def shape(self) -> Architecture:
        """Shape of the model."""
        return Architecture(**self.architecture.model_dump())

    @property
    def identity(self) -> dict[str, object]:
        """Everything that the key hashes; its canonical JSON stands beside the record as `identity.json`."""
        absent = {"evaluate_steps"} if self.evaluate_steps is None else set()
        config = self.model_dump(
            mode="json",
            exclude={*OUTSIDE, *absent},
        )
        if self.init_from is not None:
            config["init_from"] = self.init_from.record.model_dump(mode="json")
        inputs = {
            "tokenizer": [self.tokenizer.sha256, self.tokenizer.vocab_size, self.tokenizer.eod_id],
            "draws": {name: draw.record.model_dump(mode="json") for name, draw in self.draws.items()},
            "heldout": {
                name: [[part.bin_sha256, part.idx_sha256, part.provenance_sha256] for part in heldout.datasets]
                for name, heldout in self.heldout.items()
            },
        }
        return stage_identity(TRAIN, TRAIN_VERSION, {**config, "evaluation": EVALUATION_PROTOCOL}, inputs)

    @property
    def key(self) -> str:
        """Name of the run's folder: SHA-256 of the identity's canonical JSON."""
        return sha256_of(self.identity)
