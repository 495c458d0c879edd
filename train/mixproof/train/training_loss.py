"""The loss of a batch and its gradient in one pass over the vocabulary, a few rows of logits at a time.

Megatron's loss holds logits of batch × vocabulary in float32 about three times (786 MB for 2,048 tokens at a vocabulary
of 32,000) and walks over them from memory again and again. Here the logits of a few positions are made, turned into
losses and at once into their gradient, and forgotten: the forward pass leaves the gradients of hidden states and output
weights, and the backward pass only scales them. The matrix products are the same three; what is saved is memory and
the way to it. Equal to Megatron's to float32.

Because the gradient is made before it is asked for, the loss is one number, a weighted sum: weights are given with the
batch. Losses of single targets come beside it, without a gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.models.gpt import GPTModel
from torch import Tensor
from torch.autograd.function import once_differentiable

from .token_losses import ROWS, without_output


def training_loss(
    model: GPTModel, tokens: Tensor, positions: Tensor, starts: Tensor | None, labels: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss of one micro batch.

    Args:
        model: in training.
        tokens: [batch, sequence] inputs; `positions` and `labels` alike.
        positions: place of each token.
        starts: as `attention.document_starts`; None: every token sees all before it.
        labels: the id to predict at each place.
        weights: [batch, sequence] what each target counts.

    Returns:
        The weighted sum of -ln p in nats, which can go backward, and [batch, sequence] its parts, which cannot.
    """
    with without_output(model):
        hidden: Tensor = model(tokens, positions, starts)  # [sequence, batch, hidden]
    output: Tensor = model.shared_embedding_or_output_weight()
    rows = hidden.transpose(0, 1).reshape(-1, hidden.size(-1))
    total, losses = _WeightedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        rows, output, labels.reshape(-1), weights.reshape(-1)
    )
    return total, losses.view_as(labels)


class _WeightedCrossEntropy(torch.autograd.Function):
    """Sum of w_i · -ln softmax(h_i Wᵀ)[y_i], with gradients made on the way."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, output: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        """Take hidden [n, h], output [v, h], labels [n] and weights [n]; give the sum and [n] its parts."""
        losses = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
        of_hidden, of_output = torch.empty_like(hidden), torch.zeros_like(output)
        step = ROWS[hidden.device.type]
        for first in range(0, len(labels), step):
            part = slice(first, first + step)
            scores = (hidden[part] @ output.T).float()
            chosen, weight = labels[part, None], weights[part, None]
            largest = scores.amax(1, keepdim=True)
            score = scores.gather(1, chosen)
            total = scores.sub_(largest).exp_().sum(1, keepdim=True)  # from here on `scores` holds e^(score - largest)
            losses[part] = ((total.log() + largest - score) * weight)[:, 0]
            scores.mul_(weight / total).scatter_add_(1, chosen, -weight.to(scores.dtype))
            of_hidden[part] = scores.to(hidden.dtype) @ output
            if hidden.is_cuda:
                of_output += scores.T @ hidden[part]  # so that autocast applies
            else:
                of_output.addmm_(scores.T, hidden[part])  # without another matrix of that size
        ctx.gradients = of_hidden, of_output
        ctx.mark_non_differentiable(losses)
        return losses.sum(), losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_total: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:  # noqa: ANN401
        """Scale what the forward pass left, in place, because it is asked for once."""
        of_hidden, of_output = ctx.gradients
        del ctx.gradients
        return of_hidden.mul_(of_total), of_output.mul_(of_total), None, None
