"""The loss of a batch and its gradient in one pass over the vocabulary, a few rows of logits at a time.

Megatron's loss holds logits of batch × vocabulary in float32 about three times (786 MB for 2,048 tokens at a vocabulary
of 32,000) and walks over them from memory again and again. Here the logits of a few positions are made, turned into
losses and at once into their gradient, and forgotten: the forward pass leaves the gradients of hidden states and output
weights, and the backward pass only scales them. The matrix products are the same three; what is saved is memory and
the way to it. On a CPU they are cut into tiles of the vocabulary that stay in a core's cache from one product to the
next; a row's largest score and sum are put together from those of its tiles. Equal to Megatron's to float32.

Because the gradient is made before it is asked for, the loss is one number, a weighted sum: weights are given with the
batch. Losses of single targets come beside it, without a gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.models.gpt import GPTModel
from torch import Tensor
from torch.autograd.function import once_differentiable

from mixproof.train.proxies import LOSS_ROWS

from .token_losses import without_output

TILE = {"cpu": 2000, "cuda": 1 << 20}
"""Ids of the vocabulary to a tile: 4 MB of logits on a CPU, everything on a GPU."""


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
        of_hidden, of_output = torch.zeros_like(hidden), torch.zeros_like(output)
        rows = LOSS_ROWS[hidden.device.type]
        for first in range(0, len(labels), rows):
            part = slice(first, first + rows)
            losses[part] = _add_block(
                hidden[part], output, labels[part, None], weights[part, None], of_hidden[part], of_output
            )
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


def _add_block(
    hidden: Tensor, output: Tensor, labels: Tensor, weights: Tensor, of_hidden: Tensor, of_output: Tensor
) -> Tensor:
    """Add the gradients of a block of rows to `of_hidden` and `of_output`; return its weighted losses [n].

    Args:
        hidden: [n, h].
        output: [v, h].
        labels: [n, 1].
        weights: [n, 1].
        of_hidden: [n, h], of this block alone.
        of_output: [v, h].
    """
    width = min(TILE[hidden.device.type], len(output))
    tiles, tops, sums = [], [], []
    score = torch.zeros_like(weights)
    for begin in range(0, len(output), width):
        scores = (hidden @ output[begin : begin + width].T).float()
        place, inside = _place(labels, begin, scores.size(1))
        score = torch.where(inside, scores.gather(1, place), score)
        tops.append(scores.amax(1, keepdim=True))
        sums.append(scores.sub_(tops[-1]).exp_().sum(1, keepdim=True))
        tiles.append(scores)  # from here on e^(score - largest of its row and tile)
    of_tile = torch.cat(tops, 1)
    largest = of_tile.amax(1, keepdim=True)
    lift = (of_tile - largest).exp_()
    total = (lift * torch.cat(sums, 1)).sum(1, keepdim=True)
    share = lift * (weights / total)
    for number, scores in enumerate(tiles):
        begin = number * width
        place, inside = _place(labels, begin, scores.size(1))
        scores.mul_(share[:, number, None]).scatter_add_(1, place, torch.where(inside, -weights, 0.0))
        gradient = scores.to(hidden.dtype)
        _add_product(of_hidden, gradient, output[begin : begin + width])
        _add_product(of_output[begin : begin + width], gradient.T, hidden)
    return ((total.log() + largest - score) * weights)[:, 0]


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add a matrix product in place."""
    if torch.is_autocast_enabled(total.device.type):
        total += left @ right  # an operation in place would not be cast
    else:
        total.addmm_(left, right)


def _place(labels: Tensor, begin: int, width: int) -> tuple[Tensor, Tensor]:
    """Where each label stands in a tile of the vocabulary, and whether it does."""
    place = labels - begin
    return place.clamp(0, width - 1), (place >= 0) & (place < width)
