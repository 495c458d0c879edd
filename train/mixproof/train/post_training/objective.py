"""Objectives: what a step minimizes. The loss of a step is a sum over units, divided by the units of the global batch.

The unit is a token in pretraining and supervised fine-tuning, a pair of answers in preference optimization and in a
reward model by Bradley-Terry, and a rated attribute in a reward model by regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

import torch
from megatron.core.models.gpt import GPTModel
from torch import Tensor

from mixproof.train.model.micro_batch import Batch, StepPlan, micro_batch_loss
from mixproof.train.model.reward_head import reward_head_of
from mixproof.train.request import RunRequest

from .preferences import PreferenceObjective
from .rewards import RewardObjective
from .step_loss import StepLoss


class Objective(Protocol):
    """The loss of a stage."""

    def units(self, batch: Batch) -> Tensor:
        """Return the number of units in a micro batch, float64."""

    def loss(self, model: GPTModel, batch: Batch, plan: StepPlan, *, in_bfloat16: bool) -> StepLoss:
        """Compute the loss of one micro batch; `model` is in training mode."""


class TokenObjective:
    """Cross entropy of the tokens that count, each as many times as its source's weight."""

    def __init__(self, weights: Sequence[float] | None = None) -> None:
        """`weights` of the sources, in their order in a batch's `source`; None: all 1."""
        self._weights = None if weights is None else torch.tensor(weights)

    def units(self, batch: Batch) -> Tensor:
        """Return the number of targets, weighted."""
        weighted = batch["loss_mask"] if self._weights is None else batch["loss_mask"] * self._rows(batch)
        return weighted.sum(dtype=torch.float64)

    def loss(self, model: GPTModel, batch: Batch, plan: StepPlan, *, in_bfloat16: bool) -> StepLoss:
        """Sum the losses of the targets in nats, weighted; the losses of single targets are without weights."""
        if self._weights is None:
            total, losses = micro_batch_loss(model, batch, plan, in_bfloat16=in_bfloat16)
            return StepLoss(total, total.detach().double(), losses, batch["loss_mask"])
        weights = self._rows(batch)
        weighted = {**batch, "loss_mask": batch["loss_mask"] * weights}
        total, losses = micro_batch_loss(model, weighted, plan, in_bfloat16=in_bfloat16)
        return StepLoss(total, total.detach().double(), losses / weights, batch["loss_mask"])

    def _rows(self, batch: Batch) -> Tensor:
        """Return [micro batch, 1] the weight of each sample's source."""
        assert self._weights is not None, "the caller checked"
        return self._weights.to(batch["source"].device)[batch["source"]][:, None]


def objective_of(request: RunRequest, model: GPTModel) -> Objective:
    """Return the objective of a run's stage; `model` has the head of a reward model."""
    trained = request.post_training
    if trained is None or trained.stage == "sft":
        weights = request.loss_weights
        if weights is None:
            return TokenObjective()
        return TokenObjective([float(Fraction(weights[source])) for source in sorted(request.budget.samples_of)])
    if trained.reward is not None:
        return RewardObjective(trained.reward, reward_head_of(model))
    return PreferenceObjective(trained)
