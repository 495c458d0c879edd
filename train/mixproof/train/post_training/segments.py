"""Segments: the documents in the windows of a micro batch, found by the positions that restart at each.

In windows of pairs, segments 2i and 2i + 1 of a window are the chosen and the rejected answer of its pair i. Padding is
a segment at every position behind all documents; it is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mixproof.train.model.micro_batch import Batch


class Segments:
    """The segments of a micro batch, up to the last one that has a supervised token."""

    def __init__(self, batch: Batch) -> None:
        positions, mask = batch["position_ids"], batch["loss_mask"]
        numbers = (positions == 0).cumsum(1) - 1
        count = int(numbers[mask > 0].max()) + 1 if bool((mask > 0).any()) else 0
        self._belongs = (numbers[:, None, :] == torch.arange(count, device=numbers.device)[:, None]).double()
        self._starts = self._belongs * (positions == 0)[:, None, :]
        self.supervised = self.sums(mask)
        """[batch, segments] supervised tokens of each, float64."""

    def sums(self, values: Tensor) -> Tensor:
        """Return [batch, segments] the sums of [batch, sequence] values, added in a fixed order on every device."""
        return (self._belongs @ values.double()[..., None])[..., 0]

    def firsts(self, values: Tensor) -> Tensor:
        """Return [batch, segments, ...] the values [batch, sequence, ...] at the first position of each segment."""
        return self._starts @ values.double()

    def spread(self, values: Tensor) -> Tensor:
        """Return [batch, sequence] the value [batch, segments] of each position's segment; 0 behind the last one."""
        return (values[:, None, :] @ self._belongs)[:, 0]

    @property
    def lasts(self) -> Tensor:
        """[batch, segments] index in its window of the last position of each segment; -1 where a window has fewer."""
        index = torch.arange(1, self._belongs.size(2) + 1, device=self._belongs.device)
        return (self._belongs * index).amax(2).long() - 1


def sides(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return [batch, pairs] those of chosen and of rejected answers, from [batch, segments] of pairs."""
    return values[:, ::2], values[:, 1::2]


def is_pair(segments: Segments) -> Tensor:
    """Return [batch, pairs] 1 where a window has a pair, else 0; float64."""
    chosen, rejected = sides(segments.supervised)
    return ((chosen > 0) & (rejected > 0)).double()
