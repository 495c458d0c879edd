"""Maximal update parametrization: initial weights and learning rates that scale with the width.

Yang et al. (2022, "Tensor Programs V", table 8) for AdamW, with the semantics of Megatron Core's `use_mup`. With
m = hidden size / base hidden size:

| weights | initial deviation | learning rate | epsilon |
|---|---|---|---|
| matrices of the layers | / sqrt(m) | / m | / m |
| embedding, gains | unchanged | unchanged | unchanged |
| logits | times output / m | | |

The factor f = output / m of the logits is in the gain of the final norm: it starts at f instead of 1, with rate times f
and epsilon / f, which under Adam is the same as a factor of f after an unscaled gain. The gradient of the gain is 1 / f
times as large, which enters the clipped norm. So the weights alone are the model: scoring, checkpoints and exports need
not know about muP. Attention is scaled by 1 / sqrt(head size), which is muP as long as the head size is that of the
base.

`output` (Megatron's `mup_output_mult` at the base) matters with tied embeddings: to raise a logit by 1, a row of the
embedding moves by 1 / (output · base hidden size) in every coordinate. With a base of 64 and a factor of 1 this is as
much as its initial deviation of 0.02, so the first steps, which learn how frequent each token is, cover what tells
tokens apart. A plain model of width 256 moves a quarter as far and learns faster; a muP model of any width learns as
slowly as its base. With a factor of 4 the base and all wider models learn faster than either (`benchmarks/mup.py`).
"""

from __future__ import annotations

from typing import Any

import torch

EMBEDDING = "embedding."
FINAL_NORM = "decoder.final_layernorm.weight"


def scale_initial_weights(model: torch.nn.Module, width: float, output: float = 1.0) -> None:
    """Scale the initial weights of a model in place.

    Args:
        model: with the weights of its seed.
        width: hidden size / base hidden size.
        output: factor of the logits at the base.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name == FINAL_NORM:
                parameter.mul_(output / width)
            elif parameter.dim() > 1 and not name.startswith(EMBEDDING):
                parameter.div_(width**0.5)


def scaled_groups(
    model: torch.nn.Module, width: float, rates: tuple[float, float], epsilon: float, output: float = 1.0
) -> list[dict[str, Any]]:
    """Parameter groups of AdamW, in the order of the unscaled ones: embedding, matrices, gains, final gain.

    Args:
        model: whose weights are trained.
        width: hidden size / base hidden size.
        rates: peak and final learning rate at the base; the scheduler reads those of a group from it.
        epsilon: of Adam at the base.
        output: factor of the logits at the base.
    """
    named = dict(model.named_parameters())
    final = [named.pop(FINAL_NORM)]
    embedding = [weight for name, weight in named.items() if weight.dim() > 1 and name.startswith(EMBEDDING)]
    matrices = [weight for name, weight in named.items() if weight.dim() > 1 and not name.startswith(EMBEDDING)]
    gains = [weight for weight in named.values() if weight.dim() <= 1]
    scaled = {"max_lr": rates[0] / width, "min_lr": rates[1] / width}
    factor = output / width
    of_final = {"max_lr": rates[0] * factor, "min_lr": rates[1] * factor}
    return [
        {"params": embedding, "wd_mult": 1.0},
        {"params": matrices, "wd_mult": 1.0, "eps": epsilon / width, **scaled},
        {"params": gains, "wd_mult": 0.0},
        {"params": final, "wd_mult": 0.0, "eps": epsilon / factor, **of_final},
    ]
