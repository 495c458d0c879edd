"""The loss of each target, without holding the logits of a whole batch.

Megatron's loss holds about three copies of batch × vocabulary logits in float32: 786 MB for 2,048 tokens at a
vocabulary of 32,000. For scoring, the hidden states of the counted positions are multiplied by the output weights a
few rows at a time, so the logits stay in the cache: 1.6 times as fast at vocabulary 32,000 and 1.2 times at 8,192
(nano, one core), in 16 MB, and none are computed for padding. The losses agree with Megatron's to float32 precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from megatron.core.models.gpt import GPTModel
from torch import Tensor

ROWS = {"cpu": 128, "cuda": 4096}
"""Positions whose logits are held at once."""


def token_losses(model: torch.nn.Module, tokens: Tensor, positions: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Loss of each counted label.

    Args:
        model: a GPTModel, or any module that returns losses [batch, sequence] when called like one with labels.
        tokens: [batch, sequence] inputs; `positions`, `labels` and `counts` (booleans) have the same shape.
        positions: index of each token in its window.
        labels: the id to predict at each position.
        counts: which labels count.

    Returns:
        [counted labels] -ln p in nats, row by row.
    """
    if not isinstance(model, GPTModel):
        losses: Tensor = model(tokens, positions, None, labels=labels)
        return losses[counts]
    return torch.cat([_cross_entropy(*part) for part in _logits(model, tokens, positions, labels, counts)])


def losses_and_hits(
    model: GPTModel, tokens: Tensor, positions: Tensor, labels: Tensor, counts: Tensor
) -> tuple[Tensor, Tensor]:
    """`token_losses`, and [counted labels] whether each label is the most likely id."""
    parts = [
        (_cross_entropy(logits, ids), logits.argmax(1) == ids)
        for logits, ids in _logits(model, tokens, positions, labels, counts)
    ]
    losses, hits = zip(*parts, strict=True)
    return torch.cat(losses), torch.cat(hits)


def _logits(
    model: GPTModel, tokens: Tensor, positions: Tensor, labels: Tensor, counts: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and labels of the counted positions, a few rows at a time."""
    with without_output(model):
        hidden = model(tokens, positions, None).transpose(0, 1)[counts]
    weight: Tensor = model.shared_embedding_or_output_weight()
    chosen = labels[counts]
    rows = ROWS[tokens.device.type]
    for first in range(0, len(chosen), rows):
        yield hidden[first : first + rows] @ weight.T, chosen[first : first + rows]


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return torch.logsumexp(logits, 1) - logits.gather(1, labels[:, None])[:, 0]


@contextmanager
def without_output(model: GPTModel) -> Iterator[None]:
    """Make the model return its hidden states, as the first stages of a pipeline do."""
    model.post_process = False
    try:
        yield
    finally:
        model.post_process = True
