"""Micro batches: how a global batch is divided into them, and the loss of one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

import torch
from megatron.core.models.gpt import GPTModel
from torch import Tensor

from mixproof.ledger.errors import RequestError
from mixproof.train.distributed import Ranks
from mixproof.train.record import MasksRecord
from mixproof.train.request import RunRequest

from .attention import document_starts
from .training_loss import hidden_rows, training_loss, weighted_loss

MICRO_BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Tokens per forward pass if the spec sets no micro batch size; bounds the activations."""
FIELDS = ("tokens", "labels", "loss_mask", "position_ids", "source")

Batch = dict[str, Tensor]
"""`tokens`, `labels`, `position_ids` (int64) and `loss_mask` (float32), each [micro batch, sequence], and `source`
(int64), [micro batch]. Stages on pairs and ratings add `values` (float64), [micro batch, sequence, values]."""


@dataclass(frozen=True)
class StepPlan:
    """What is the same in every step of a phase."""

    global_batch_size: int
    """Samples per step, over all ranks, each of the phase's length."""
    micro_batch_size: int
    """Samples per forward pass on each rank."""
    sequence_length: int
    """Of the phase."""
    clip: float
    """Largest gradient norm; infinite if gradients are not clipped."""
    masks: MasksRecord
    eod_id: int
    samples_per_step: int
    """What a step adds to the consumed samples, which have the run's length in every phase."""


def step_plan(request: RunRequest, ranks: Ranks, consumed_samples: int = 0) -> StepPlan:
    """Divide a global batch of the phase at `consumed_samples` among ranks and forward passes; a clip of 0 means none.

    A step has the same tokens in every phase, and so has a forward pass, as nearly as whole samples allow.

    Raises:
        RequestError: when the ranks do not divide the batch evenly.
    """
    budget, clip = request.budget, float(Fraction(request.recipe.clip))
    batch, length = (
        budget.batch_at(consumed_samples),
        budget.length_of(budget.phases[budget.phase_at(consumed_samples)]),
    )
    if batch.windows % ranks.size:
        raise RequestError(
            f"{request.name}: a global batch of {batch.windows} samples cannot be divided evenly among "
            f"{ranks.size} ranks; set `ranks` of the proxy to a divisor of its global_batch_size"
        )
    declared = request.micro_batch_size
    tokens = MICRO_BATCH_TOKENS[ranks.device.type] if declared is None else declared * budget.sequence_length
    return StepPlan(
        global_batch_size=batch.windows,
        micro_batch_size=min(max(1, tokens // length), batch.windows // ranks.size),
        sequence_length=length,
        clip=clip or math.inf,
        masks=request.masks,
        eod_id=request.tokenizer.eod_id,
        samples_per_step=budget.global_batch_size,
    )


def micro_batch_loss(model: GPTModel, batch: Batch, plan: StepPlan, *, in_bfloat16: bool) -> tuple[Tensor, Tensor]:
    """Compute the loss of one micro batch.

    Returns:
        The sum in nats, and [micro batch, sequence] the loss of each target, 0 where the loss mask is 0.
    """
    with forward_context(model, batch, plan, in_bfloat16=in_bfloat16) as starts:
        inputs = batch["tokens"], batch["position_ids"], starts
        if plan.masks.supervised is None:
            return training_loss(model, *inputs, batch["labels"], batch["loss_mask"])
        counted = batch["loss_mask"].reshape(-1).nonzero()[:, 0]  # no logits are computed for context and padding
        rows = hidden_rows(model, *inputs).index_select(0, counted)
        total, of_counted = weighted_loss(
            model, rows, batch["labels"].reshape(-1)[counted], batch["loss_mask"].reshape(-1)[counted]
        )
    losses = torch.zeros(batch["labels"].numel(), dtype=of_counted.dtype, device=of_counted.device)
    losses[counted] = of_counted
    return total, losses.view_as(batch["labels"])


@contextmanager
def forward_context(model: GPTModel, batch: Batch, plan: StepPlan, *, in_bfloat16: bool) -> Iterator[Tensor | None]:
    """Set autocast and rotary positions for a forward pass; give the first token that each token sees, or None."""
    masks, tokens, positions = plan.masks, batch["tokens"], batch["position_ids"]
    starts = _piece_starts(positions) if masks.best_fit else None
    if starts is None and masks.document_mask:
        starts = document_starts(tokens, plan.eod_id)
    with (
        torch.autocast(tokens.device.type, torch.bfloat16, enabled=in_bfloat16),
        model.rotary_pos_emb.at_positions(positions if masks.reset_position_ids else None),
    ):
        yield starts


def _piece_starts(positions: Tensor) -> Tensor:
    """Return [micro batch, sequence] the index in its window at which each token's piece starts."""
    return torch.arange(positions.size(1), device=positions.device) - positions
