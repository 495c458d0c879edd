"""Objectives: what a step minimizes. The loss of a step is a sum over units, divided by the units of the global batch.

The unit is a token in pretraining and supervised fine-tuning, and a pair of answers in preference optimization.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from megatron.core.models.gpt import GPTModel
from torch import Tensor

from mixproof.train.model.micro_batch import Batch, StepPlan, micro_batch_loss
from mixproof.train.request import RunRequest

from .preferences import PreferenceObjective
from .step_loss import StepLoss


class Objective(Protocol):
    """The loss of a stage."""

    def units(self, batch: Batch) -> Tensor:
        """Return the number of units in a micro batch, float64."""

    def loss(self, model: GPTModel, batch: Batch, plan: StepPlan, *, in_bfloat16: bool) -> StepLoss:
        """Compute the loss of one micro batch; `model` is in training mode."""


@dataclass(frozen=True)
class TokenObjective:
    """Cross entropy of the tokens that count."""

    def units(self, batch: Batch) -> Tensor:
        """Return the number of targets."""
        return batch["loss_mask"].sum(dtype=torch.float64)

    def loss(self, model: GPTModel, batch: Batch, plan: StepPlan, *, in_bfloat16: bool) -> StepLoss:
        """Sum the losses of the targets in nats."""
        total, losses = micro_batch_loss(model, batch, plan, in_bfloat16=in_bfloat16)
        return StepLoss(total, total.detach().double(), losses, batch["loss_mask"])


def objective_of(request: RunRequest) -> Objective:
    """Return the objective of a run's stage."""
    trained = request.post_training
    if trained is None or trained.stage == "sft":
        return TokenObjective()
    return PreferenceObjective(trained)
