"""The loss of one micro batch, as an objective gives it to the trainer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class StepLoss:
    """A loss with what the trainer needs to know of it."""

    to_minimize: Tensor
    """A number whose gradient is that of the loss; its value may be another."""
    value: Tensor
    """The sum of the losses of all units, float64, without a gradient."""
    losses: Tensor
    """[micro batch, units] loss of each unit, 0 where there is none."""
    counts: Tensor
    """[micro batch, units] 1 for each unit, else 0."""
