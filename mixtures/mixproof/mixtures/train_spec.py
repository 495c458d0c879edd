"""The spec's `train` block: proxies, schedule, optimizer, and what else makes a run."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from pydantic import Field, NonNegativeInt, StrictBool

from .quantities import Decimalish, PositiveDecimal, Share, TokenCount, WholeNumber
from .spec_part import Name, SpecPart


class Wsd(SpecPart):
    """Warm-up, stable, decay."""

    warmup: Share = Fraction(2, 100)
    """Share of the steps in which the learning rate rises from zero."""
    decay: Share = Fraction(20, 100)
    """Share of the steps, at the end, in which it falls to `min_lr`."""
    shape: Literal["linear", "cosine", "exponential", "minus_sqrt"] = "minus_sqrt"
    """Curve of the decay."""


class Schedule(SpecPart):
    """Learning-rate schedule."""

    wsd: Wsd = Wsd()
    """Shares of a run's steps; they round up to whole steps."""


class Optimizer(SpecPart):
    """AdamW; weight decay on matrices only."""

    weight_decay: Decimalish = Fraction(1, 10)
    """Of matrices; biases and norms have none."""
    clip: Decimalish = Fraction(1)
    """Largest gradient norm; 0: not clipped."""
    betas: tuple[Share, Share] = (Fraction(9, 10), Fraction(95, 100))
    """Of AdamW."""


class Architecture(SpecPart):
    """Shape of a proxy given inline; the same numbers as a shipped one."""

    layers: WholeNumber
    hidden: WholeNumber
    ffn: WholeNumber
    heads: WholeNumber
    kv_heads: WholeNumber
    head_dim: WholeNumber


class Proxy(SpecPart):
    """A small model's recipe: how long and how fast it learns."""

    tokens: TokenCount
    """Training tokens of a run, rounded up to whole steps."""
    global_batch_size: WholeNumber
    """Samples per step."""
    lr: PositiveDecimal
    """Peak learning rate."""
    min_lr: Decimalish
    """Where the decay ends; a tenth of `lr` where the spec does not say."""
    micro_batch_size: WholeNumber | None = None
    """Samples per forward pass; None: chosen by the trainer. Execution, not identity."""
    ranks: WholeNumber = 1
    """Processes that share every step of a run, each with its part of the global batch. Execution, not identity."""
    cpus: PositiveDecimal = Fraction(1)
    """Processors that Ray sets aside for each rank of a run; on the CPU it computes with as many threads.
    Execution, not identity."""
    gpus: Share | None = None
    """The part of a GPU for each rank of a run: 0.25 trains four runs on one, 0 trains on the CPU; None: a GPU where
    the machine that starts the runs has one. Execution, not identity."""
    recompute: StrictBool = False
    """Make the layers' activations again in the backward pass instead of keeping them. Execution, not identity."""
    architecture: Architecture | None = None
    """Absent: the shipped proxy of this name."""


class InitFrom(SpecPart):
    """A checkpoint that all runs start from; `init_from: DIR` is `{checkpoint: DIR}`."""

    checkpoint: str
    """Folder of Megatron-LM's, of a Hugging Face Llama model, or of a finished run."""
    optimizer: StrictBool = False
    """Take Adam's moments and its count of steps too, not the weights alone. The learning rate follows the schedule
    from its start either way."""


class Train(SpecPart):
    """How every run is trained."""

    sequence_length: WholeNumber = 2048
    """Targets per sample."""
    document_mask: StrictBool = False
    """Attention stays inside a document."""
    eod_mask_loss: StrictBool = False
    """The target behind an EOD, a document's first token, does not count in the loss."""
    reset_position_ids: StrictBool = False
    """Positions count from each document's start."""
    rope_base: WholeNumber = 10000
    """Base of the rotary embedding."""
    schedule: Schedule = Schedule()
    """Learning rate over a run."""
    optimizer: Optimizer = Optimizer()
    """AdamW's settings."""
    proxies: dict[Name, Proxy] = Field(min_length=1)
    """The small models, by name: a shipped one (`mixproof proxies`), or any name with an `architecture`."""
    init_from: InitFrom | None = None
    """Checkpoint, or a finished run, that all runs start from. Absent: fresh weights, by seed."""
    checkpoint_every: TokenCount | None = None
    """Absent: at the end only."""
    evaluate_every: TokenCount | None = None
    """Tokens between two scorings of the held-out sets while a run trains. Absent: at the end only."""
    checkpoint_keep: WholeNumber | None = None
    """How many of the newest checkpoints of a run stay. Absent: all. Execution, not identity."""
    seeds: tuple[NonNegativeInt, ...] = Field(default=(1,), min_length=1)
    """A run each; initial weights and order of the data follow from it. Two or more, or no mixture can win."""
