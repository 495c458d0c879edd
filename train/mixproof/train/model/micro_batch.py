"""One micro batch: how a run's global batch is cut into them, and the loss of one."""

from __future__ import annotations

import math
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
from .training_loss import training_loss

MICRO_BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Tokens per forward pass where the spec names no micro batch; bounds the activations."""
FIELDS = ("tokens", "labels", "loss_mask", "position_ids", "source")

Batch = dict[str, Tensor]
"""`tokens`, `labels`, `position_ids` (int64) and `loss_mask` (float32), [micro batch, sequence] each, and `source`
(int64), [micro batch]."""


@dataclass(frozen=True)
class StepPlan:
    """What is the same in every step of a run."""

    global_batch_size: int
    """Samples a step, over all ranks."""
    micro_batch_size: int
    """Samples a forward pass, on each rank."""
    sequence_length: int
    clip: float
    """Largest gradient norm; infinite where gradients are not clipped."""
    masks: MasksRecord
    eod_id: int


def steps_of(request: RunRequest, ranks: Ranks) -> StepPlan:
    """Divide a run's global batch among ranks and forward passes; a clip of 0 means none.

    Raises:
        RequestError: when the batch cannot be divided evenly by the ranks.
    """
    budget, clip = request.budget, float(Fraction(request.recipe.clip))
    if budget.global_batch_size % ranks.size:
        raise RequestError(
            f"a global batch of {budget.global_batch_size} samples cannot be divided by {ranks.size} ranks; "
            f"start a number of ranks that divides it"
        )
    per_rank = budget.global_batch_size // ranks.size
    fitting = max(1, MICRO_BATCH_TOKENS[ranks.device.type] // budget.sequence_length)
    return StepPlan(
        global_batch_size=budget.global_batch_size,
        micro_batch_size=min(request.micro_batch_size or fitting, per_rank),
        sequence_length=budget.sequence_length,
        clip=clip or math.inf,
        masks=request.masks,
        eod_id=request.tokenizer.eod_id,
    )


def micro_batch_loss(model: GPTModel, batch: Batch, plan: StepPlan, *, in_bfloat16: bool) -> tuple[Tensor, Tensor]:
    """Nats of one micro batch, summed, and of each target, [micro batch, sequence]; 0 where it does not count."""
    masks = plan.masks
    tokens, positions = batch["tokens"], batch["position_ids"]
    starts = document_starts(tokens, plan.eod_id) if masks.document_mask else None
    with (
        torch.autocast(tokens.device.type, torch.bfloat16, enabled=in_bfloat16),
        model.rotary_pos_emb.turned_to(positions if masks.reset_position_ids else None),
    ):
        return training_loss(model, tokens, positions, starts, batch["labels"], batch["loss_mask"])
