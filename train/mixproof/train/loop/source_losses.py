"""Training loss by source: sums the losses of each source's targets in one step.

A sample has one source, so the losses of a forward pass are summed by the source of their row. Sums are float64 and
use a product with a 0/1 matrix, which adds in a fixed order on every device (scattered additions on CUDA do not).
Nothing here affects the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mixproof.train.distributed import Ranks


class SourceLosses:
    """Sums of loss and targets by source, over the samples of one step."""

    def __init__(self, sources: Sequence[str], device: torch.device) -> None:
        """Start at zero; samples refer to sources by their index in `sources`."""
        self._sources = tuple(sources)
        self._numbers = torch.arange(len(sources), device=device)
        self._sums = torch.zeros(2, len(sources), dtype=torch.float64, device=device)

    def add(self, source: Tensor, losses: Tensor, counts: Tensor) -> None:
        """Add one forward pass.

        Args:
            source: [samples] index of each sample's source.
            losses: [samples, sequence] nats of each target, 0 if it does not count.
            counts: [samples, sequence] 1 if a target counts, else 0.
        """
        rows = torch.stack([losses.detach().double().sum(1), counts.double().sum(1)])
        self._sums += rows @ (source[:, None] == self._numbers).double()

    def means(self, ranks: Ranks) -> tuple[dict[str, float], dict[str, int]]:
        """Return nats per target and targets by source, for sources that had targets on any rank."""
        ranks.sum(self._sums)
        losses, targets = self._sums.tolist()
        rows = [row for row in zip(self._sources, losses, targets, strict=True) if row[2]]
        return {name: loss / count for name, loss, count in rows}, {name: int(count) for name, _, count in rows}
