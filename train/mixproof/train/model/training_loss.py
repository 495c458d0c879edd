"""The loss of a batch and its gradient in one pass over the vocabulary, a few rows of logits at a time.

Megatron's loss holds about three copies of batch × vocabulary logits in float32 (786 MB for 2,048 tokens at a
vocabulary of 32,000) and reads them from memory repeatedly. Here the logits of a few positions are computed, turned
into losses and gradients at once, and dropped. The forward pass computes the gradients of hidden states and output
weights, and the backward pass only scales them. The three matrix products are the same; memory and memory traffic are
saved. On a CPU the products are cut into tiles of the vocabulary that stay in a core's cache, and the maximum and sum
of a row are combined from its tiles, as in an online softmax. Equal to Megatron's loss to float32 precision.

Because the gradient is computed before the backward pass, the loss must be one number: a weighted sum, with the weights
given in the batch. The losses of single targets are returned beside it without a gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.models.gpt import GPTModel
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy

from mixproof.train.proxies import LOSS_ROWS

from .token_losses import without_output

TILE = {"cpu": 2000, "cuda": 1 << 20}
"""Vocabulary ids per tile: 4 MB of logits on a CPU, the whole vocabulary on a GPU."""


def training_loss(
    model: GPTModel, tokens: Tensor, positions: Tensor, starts: Tensor | None, labels: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss of one micro batch.

    Args:
        model: in training mode.
        tokens: [batch, sequence] inputs; `positions` and `labels` have the same shape.
        positions: position of each token.
        starts: from `attention.document_starts`; None: every token sees all tokens before it.
        labels: the id to predict at each position.
        weights: [batch, sequence] weight of each target.

    Returns:
        The weighted sum of -ln p in nats, with a gradient, and [batch, sequence] its terms, without one.
    """
    rows = hidden_rows(model, tokens, positions, starts)
    total, losses = weighted_loss(model, rows, labels.reshape(-1), weights.reshape(-1))
    return total, losses.view_as(labels)


def hidden_rows(model: GPTModel, tokens: Tensor, positions: Tensor, starts: Tensor | None) -> Tensor:
    """Return the hidden states before the output weights, [batch × sequence, hidden], window by window."""
    with without_output(model):
        hidden: Tensor = model(tokens, positions, starts)  # [sequence, batch, hidden]
    return hidden.transpose(0, 1).reshape(-1, hidden.size(-1))


def weighted_loss(model: GPTModel, rows: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of w · -ln p over rows in nats, with a gradient, and [rows] its terms, without one.

    Args:
        model: gives the output weights.
        rows: [rows, hidden] states.
        labels: [rows] ids to predict.
        weights: [rows] weight of each, of any sign.
    """
    output: Tensor = model.shared_embedding_or_output_weight()
    total, losses = _WeightedCrossEntropy.apply(rows, output, labels, weights)  # type: ignore[no-untyped-call]
    return total, losses


def row_losses(model: GPTModel, rows: Tensor, labels: Tensor) -> Tensor:
    """Return [rows] the -ln p of each label in nats, float32, without a gradient."""
    output: Tensor = model.shared_embedding_or_output_weight()
    size = LOSS_ROWS[rows.device.type]
    losses = torch.empty(len(labels), dtype=torch.float32, device=rows.device)
    with torch.no_grad():
        for first in range(0, len(labels), size):
            part = slice(first, first + size)
            losses[part] = cross_entropy((rows[part] @ output.T).float(), labels[part], reduction="none")
    return losses


class _WeightedCrossEntropy(torch.autograd.Function):
    """Sum of w_i · -ln softmax(h_i Wᵀ)[y_i]; the forward pass computes the gradients."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, output: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        """Take hidden [n, h], output [v, h], labels [n] and weights [n]; return the sum and [n] its terms."""
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
        """Scale the gradients of the forward pass in place; backward runs once."""
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
        of_hidden: [n, h] gradient, of this block only.
        of_output: [v, h] gradient.
    """
    width = min(TILE[hidden.device.type], len(output))
    tiles, tops, sums = [], [], []
    score = torch.zeros_like(weights)
    for begin in range(0, len(output), width):
        scores = (hidden @ output[begin : begin + width].T).float()
        index, inside = _index_in_tile(labels, begin, scores.size(1))
        score = torch.where(inside, scores.gather(1, index), score)
        tops.append(scores.amax(1, keepdim=True))
        sums.append(scores.sub_(tops[-1]).exp_().sum(1, keepdim=True))
        tiles.append(scores)  # now holds e^(score - maximum of its row and tile)
    of_tile = torch.cat(tops, 1)
    largest = of_tile.amax(1, keepdim=True)
    lift = (of_tile - largest).exp_()
    total = (lift * torch.cat(sums, 1)).sum(1, keepdim=True)
    share = lift * (weights / total)
    for number, scores in enumerate(tiles):
        begin = number * width
        index, inside = _index_in_tile(labels, begin, scores.size(1))
        scores.mul_(share[:, number, None]).scatter_add_(1, index, torch.where(inside, -weights, 0.0))
        gradient = scores.to(hidden.dtype)
        _add_product(of_hidden, gradient, output[begin : begin + width])
        _add_product(of_output[begin : begin + width], gradient.T, hidden)
    return ((total.log() + largest - score) * weights)[:, 0]


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add a matrix product in place."""
    if torch.is_autocast_enabled(total.device.type):
        total += left @ right  # autocast skips in-place products
    else:
        total.addmm_(left, right)


def _index_in_tile(labels: Tensor, begin: int, width: int) -> tuple[Tensor, Tensor]:
    """Index of each label in a tile of the vocabulary, clamped, and whether it is in the tile."""
    index = labels - begin
    return index.clamp(0, width - 1), (index >= 0) & (index < width)
