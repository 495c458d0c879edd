"""Reward models: a linear head on the hidden state of the last token of each answer.

    Bradley-Terry    -ln sigmoid(reward of chosen - reward of rejected - margin), a unit is a pair
    regression       squared error of each attribute that the answer is rated by, a unit is a rated attribute

The last token is the one before the EOD, which is a label and no input. The head computes in float32 on every device.
`values` of a batch: for Bradley-Terry the margin, on the chosen answer; for regression the attributes (0 where absent)
and then, for each, 1 if it is present.
"""

from __future__ import annotations

import torch
from megatron.core.models.gpt import GPTModel
from torch import Tensor
from torch.nn.functional import logsigmoid

from mixproof.train.model.micro_batch import Batch, StepPlan, forward_context
from mixproof.train.model.training_loss import hidden_rows
from mixproof.train.stage_record import RewardRecord

from .segments import Segments, is_pair, sides
from .step_loss import StepLoss


class RewardObjective:
    """The loss of a reward model."""

    def __init__(self, reward: RewardRecord, head: torch.nn.Linear) -> None:
        """Take the settings and the head of the model that is trained."""
        self._reward, self._head = reward, head

    def units(self, batch: Batch) -> Tensor:
        """Return the number of pairs, or of rated attributes."""
        segments = Segments(batch)
        if self._reward.loss == "bradley_terry":
            return is_pair(segments).sum()
        return self._present(segments.firsts(batch["values"])).sum()

    def loss(self, model: GPTModel, batch: Batch, plan: StepPlan, *, in_bfloat16: bool) -> StepLoss:
        """Sum the losses of one micro batch."""
        segments = Segments(batch)
        with forward_context(model, batch, plan, in_bfloat16=in_bfloat16) as starts:
            rows = hidden_rows(model, batch["tokens"], batch["position_ids"], starts)
        rewards = self._rewards(rows, segments)
        values = segments.firsts(batch["values"])
        if self._reward.loss == "bradley_terry":
            chosen, rejected = sides(rewards[..., 0])
            exists = is_pair(segments)
            losses = -logsigmoid(chosen - rejected - sides(values[..., 0])[0]) * exists
            return StepLoss(losses.sum().float(), losses.sum().detach(), losses.detach(), exists)
        present = self._present(values)
        errors = (rewards - values[..., : present.size(2)]) ** 2 * present
        total = errors.sum()
        rated = present.sum(2)
        means = errors.detach().sum(2) / rated.clamp(min=1)
        return StepLoss(total.float(), total.detach(), means, (segments.supervised > 0).double())

    def _present(self, values: Tensor) -> Tensor:
        """Return [batch, segments, attributes] 1 where an attribute is present."""
        return values[..., len(self._reward.attributes) :]

    def _rewards(self, rows: Tensor, segments: Segments) -> Tensor:
        """Return [batch, segments, outputs] the rewards, float64; those of missing segments mean nothing."""
        windows, count = segments.lasts.shape
        length = rows.size(0) // windows
        first = torch.arange(windows, device=rows.device)[:, None] * length
        index = (first + segments.lasts.clamp(min=0)).reshape(-1)
        with torch.autocast(rows.device.type, enabled=False):
            rewards = self._head(rows.index_select(0, index).float())
        found: Tensor = rewards.double().view(windows, count, -1)
        return found
