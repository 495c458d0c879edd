"""The `train` block of a spec: proxies, schedule, optimizer and the other settings of a run."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from pydantic import Field, StrictBool

from mixproof.mixtures.values.quantities import ExactNumber, PositiveNumber, Share, TokenCount
from mixproof.mixtures.values.spec_part import Name, SpecPart
from mixproof.mixtures.values.whole_numbers import Layers, RopeBase, Seed, SequenceLength, WholeNumber, Width

from .objectives import Dpo, Rpo


class Wsd(SpecPart):
    """Warm-up, stable, decay (WSD)."""

    warmup: Share = Fraction(2, 100)
    """Share of the steps over which the learning rate rises from zero."""
    decay: Share = Fraction(20, 100)
    """Share of the steps, at the end, over which it falls to `min_lr`."""
    shape: Literal["linear", "cosine", "exponential", "minus_sqrt"] = "minus_sqrt"
    """Shape of the decay curve."""


class Schedule(SpecPart):
    """Learning-rate schedule."""

    wsd: Wsd = Wsd()
    """Warm-up and decay as shares of a run's steps, rounded up to whole steps."""


class Optimizer(SpecPart):
    """AdamW; weight decay on matrices only."""

    weight_decay: ExactNumber = Fraction(1, 10)
    """Weight decay of matrices; biases and norms have none."""
    clip: ExactNumber = Fraction(1)
    """Largest gradient norm; 0 disables clipping."""
    betas: tuple[Share, Share] = (Fraction(9, 10), Fraction(95, 100))
    """Beta 1 and beta 2 of AdamW."""


class Architecture(SpecPart):
    """Shape of a proxy that is defined in the spec; the same numbers as for a shipped proxy."""

    layers: Layers
    """Transformer layers."""
    hidden: Width
    """Hidden size."""
    ffn: Width
    """Inner size of the feed-forward layers."""
    heads: Width
    """Attention heads."""
    kv_heads: Width
    """Key and value heads; must divide `heads`."""
    head_dim: Width
    """Dimensions per head; must be even."""


class Mup(SpecPart):
    """Maximal update parametrization (muP, Yang et al. 2022): the best learning rate does not depend on the width."""

    base_hidden: Width
    """Hidden size at which `lr` was tuned. Initial weights and rates are scaled by the ratio of the hidden sizes, as
    Megatron Core's `use_mup` does; with `output: 1` a proxy of this hidden size trains as without muP. Widen a model by
    more heads: all proxies with muP need the same `head_dim`."""
    output: PositiveNumber = Fraction(1)
    """Factor on the logits at the base, as Megatron's `mup_output_mult`; wider proxies divide it by the ratio of the
    hidden sizes. Tune it at the base, like `lr`: with a narrow base, 4 can learn much faster than 1."""


class RateSweep(SpecPart):
    """Learning rates to try: the anchor is trained at each, and all runs of the proxy use the best one."""

    sweep: tuple[PositiveNumber, ...] = Field(min_length=2)
    """Peak learning rates to try."""
    seeds: WholeNumber = 1
    """How many of the spec's seeds are trained at each rate. With two or more, rates are told apart only beyond the
    noise of the seeds."""
    anchor: str | None = None
    """Mixture that is trained at each rate. Default: the spec's first mixture."""
    check: tuple[str, ...] = ()
    """Mixtures that are trained at each rate as well, to warn when another rate is better for them."""


class Proxy(SpecPart):
    """The training recipe of a small model."""

    tokens: TokenCount
    """Training tokens per run, rounded up to whole steps. A list makes one proxy per budget, for a ladder: `62m` with
    `tokens: [500M, 1B]` becomes `62m-500M` and `62m-1B`."""
    global_batch_size: WholeNumber
    """Samples per step."""
    lr: PositiveNumber | RateSweep
    """Peak learning rate, or `{sweep: [1e-3, 2e-3, 4e-3]}` to choose it by training the anchor."""
    min_lr: ExactNumber | None = None
    """Final learning rate. Default: a tenth of the peak."""
    mup: Mup | None = None
    """Scale initial weights and learning rates with the hidden size. Default: not scaled."""
    micro_batch_size: WholeNumber | None = None
    """Samples per forward pass. Default: chosen by the trainer. Execution, not identity."""
    ranks: WholeNumber = 1
    """Data-parallel processes per run; each computes its part of the global batch. Execution, not identity."""
    cpus: PositiveNumber = Fraction(1)
    """CPUs that Ray reserves per rank, and threads per rank when training on the CPU. Execution, not identity."""
    gpus: Share | None = None
    """Share of a GPU per rank: 0.25 trains four runs on one GPU, 0 trains on the CPU. Default: one GPU if the machine
    that starts the runs has one. Execution, not identity."""
    recompute: StrictBool = False
    """Recompute activations in the backward pass instead of keeping them. Execution, not identity."""
    architecture: Architecture | None = None
    """Default: that of the shipped proxy that `shape` names."""
    shape: str | None = None
    """Shipped proxy whose architecture it has. Default: its own name."""


class InitFrom(SpecPart):
    """A checkpoint that all runs start from; `init_from: DIR` is short for `{checkpoint: DIR}`."""

    checkpoint: str
    """Folder of a Megatron-LM checkpoint, a Hugging Face Llama model or a finished run; or the first 8 or more
    characters of the key of a finished run of the same store."""
    optimizer: StrictBool = False
    """Also load Adam's moments and step count, not only the weights. The learning-rate schedule starts from the
    beginning in both cases."""
    change_rope_base: StrictBool = False
    """Train with `train.rope_base` although the checkpoint has another one, as when the context is extended. Otherwise
    a checkpoint with another base is an error."""


class WindowPacking(SpecPart):
    """How documents fill training windows."""

    pack: Literal["concatenate", "best_fit"] = "concatenate"
    """`concatenate`: documents follow each other and are cut at every window's end. `best_fit`: a window has whole
    documents, and only those longer than a window are cut; attention and positions restart at each document. Stages
    after pretraining always pack by best fit."""
    too_long: Literal["truncate", "split", "drop"] = "truncate"
    """For stages after pretraining: what happens to a conversation that is longer than a window. `truncate` keeps it up
    to the last answer that ends within the window (up to the window's end if none does), `split` cuts it into windows,
    `drop` leaves it out. The tokens left out are counted. Pairs of answers are always dropped if both together do not
    fit."""


class Train(SpecPart):
    """How every run is trained."""

    stage: Literal["pretrain", "sft", "dpo", "rpo", "reward"] = "pretrain"
    """What the runs learn. `pretrain`: every token. `sft` (supervised fine-tuning): the supervised tokens of whole
    conversations; other sources count in full. `dpo`: to prefer the chosen answer of each pair to the rejected one.
    `rpo`: to prefer it by as much as the ratings of both answers differ. `reward`: a reward model, by Bradley-Terry
    from pairs, or by regression on the attributes of rated answers."""
    dpo: Dpo = Dpo()
    """For stage `dpo`."""
    rpo: Rpo = Rpo()
    """For stage `rpo`."""
    shares_by: Literal["supervised", "tokens", "examples"] = "supervised"
    """For stages after pretraining: what the shares of a mixture are shares of. `supervised`: tokens that the loss
    counts. `tokens`: all tokens, without padding. `examples`: conversations, or pairs of answers."""
    sequence_length: SequenceLength = 2048
    """Target tokens per sample."""
    windows: WindowPacking = WindowPacking()
    """How documents fill a sample's window."""
    document_mask: StrictBool = False
    """Attention does not cross document boundaries."""
    eod_mask_loss: StrictBool = False
    """The loss ignores the target after an EOD, that is, the first token of each document."""
    reset_position_ids: StrictBool = False
    """Position ids restart at each document."""
    loss_weights: dict[str, PositiveNumber] = Field(default={})
    """Weight of each target in the training loss, by source; others have 1. Apart from the source's share, which says
    how often it is read. The loss is the weighted mean, so only the ratios of weights matter."""
    rope_base: RopeBase = 10000
    """Base of the rotary embedding."""
    schedule: Schedule = Schedule()
    """Learning-rate schedule."""
    optimizer: Optimizer = Optimizer()
    """AdamW settings."""
    proxies: dict[Name, Proxy] = Field(min_length=1)
    """The small models, by name: a shipped proxy (`mixproof proxies`), or any name with an `architecture`."""
    init_from: InitFrom | None = None
    """Checkpoint or finished run that all runs start from. Default: random weights, by seed."""
    checkpoint_every: TokenCount | None = None
    """Tokens between checkpoints. Default: one checkpoint, at the end."""
    evaluate_every: TokenCount | None = None
    """Tokens between evaluations on the held-out sets during training. Default: one evaluation, at the end."""
    checkpoint_keep: WholeNumber | None = None
    """Number of newest checkpoints to keep per run. Default: all. Execution, not identity."""
    seeds: tuple[Seed, ...] = Field(default=(1,), min_length=1)
    """One run per seed. A seed determines initial weights and data order. With a single seed no mixture can win."""
