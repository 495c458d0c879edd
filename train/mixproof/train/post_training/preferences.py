"""Preference optimization: the loss of pairs of answers, both in one forward pass.

The loss is not a sum over tokens, and the gradient of a batch's cross entropy is computed in the forward pass
(`model/training_loss.py`). So the losses of the answers' tokens are computed first, without a gradient; the derivative
of the pairs' loss by each answer's log-probability then weights its tokens in the cross entropy. The gradient is exact,
the layers run once, and the logits of supervised tokens are computed twice.

`values` of a batch: the log-probability by the starting checkpoint and, for `rpo`, the rating.
"""

from __future__ import annotations

import torch
from megatron.core.models.gpt import GPTModel
from torch import Tensor

from mixproof.train.model.micro_batch import Batch, StepPlan, forward_context
from mixproof.train.model.training_loss import hidden_rows, row_losses, weighted_loss
from mixproof.train.stage_record import PostTraining

from .preference_loss import preference_losses
from .segments import Segments, is_pair, sides
from .step_loss import StepLoss


class PreferenceObjective:
    """The loss of pairs."""

    def __init__(self, trained: PostTraining) -> None:
        """Take stage and settings."""
        self._trained = trained
        self._per_token = trained.dpo is not None and trained.dpo.loss == "ipo"

    def units(self, batch: Batch) -> Tensor:
        """Return the number of pairs."""
        return is_pair(Segments(batch)).sum()

    def loss(self, model: GPTModel, batch: Batch, plan: StepPlan, *, in_bfloat16: bool) -> StepLoss:
        """Sum the losses of the pairs of one micro batch."""
        labels, mask, segments = batch["labels"].reshape(-1), batch["loss_mask"], Segments(batch)
        counted = mask.reshape(-1).nonzero()[:, 0]
        with forward_context(model, batch, plan, in_bfloat16=in_bfloat16) as starts:
            rows = hidden_rows(model, batch["tokens"], batch["position_ids"], starts).index_select(0, counted)
            nats = torch.zeros(mask.numel(), dtype=torch.float64, device=mask.device)
            nats[counted] = row_losses(model, rows, labels[counted]).double()
            losses, by_nats = self._losses(
                segments, segments.sums(nats.view_as(mask)), segments.firsts(batch["values"])
            )
            weights = segments.spread(by_nats).reshape(-1)[counted]
            to_minimize, _ = weighted_loss(model, rows, labels[counted], weights.float())
        return StepLoss(to_minimize, losses.sum(), losses, is_pair(segments))

    def _losses(self, segments: Segments, nats: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return [batch, pairs] the losses, and [batch, segments] their derivatives by the nats of each segment."""
        tokens = segments.supervised.clamp(min=1) if self._per_token else torch.ones_like(nats)
        ratios = ((-nats - values[..., 0]) / tokens).requires_grad_()
        exists = is_pair(segments)
        with torch.enable_grad():
            chosen, rejected = sides(ratios)
            ratings = None
            if self._trained.rpo is not None:
                of_chosen, of_rejected = sides(values[..., 1])
                ratings = of_chosen - of_rejected
            losses = preference_losses(self._trained, chosen, rejected, ratings) * exists
            (by_ratio,) = torch.autograd.grad(losses.sum(), ratios)
        return losses.detach(), -by_ratio / tokens
