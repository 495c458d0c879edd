"""Maximal update parametrization: initial weights and learning rates that scale with the width.

Yang et al. (2022, "Tensor Programs V", table 8) for AdamW, with the semantics of Megatron Core's `use_mup`. With
m = hidden size / base hidden size:

| weights | initial deviation | learning rate | epsilon |
|---|---|---|---|
| matrices of the layers | / sqrt(m) | / m | / m |
| embedding, gains | unchanged | unchanged | unchanged |
| logits | times 1/m | | |

The factor of the logits is in the gain of the final norm: it starts at 1/m instead of 1, with rate / m and epsilon
times m, which under Adam is the same as a factor of 1/m after an unscaled gain. The gradient of the gain is m times as
large, which enters the clipped norm. So the weights alone are the model: scoring, checkpoints and exports need not know
about muP. Attention is scaled by 1 / sqrt(head size), which is muP as long as the head size is that of the base.
"""

from __future__ import annotations

from typing import Any

import torch

EMBEDDING = "embedding."
FINAL_NORM = "decoder.final_layernorm.weight"


def scale_initial_weights(model: torch.nn.Module, width: float) -> None:
    """Scale the initial weights of a model in place.

    Args:
        model: with the weights of its seed.
        width: hidden size / base hidden size.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name == FINAL_NORM:
                parameter.div_(width)
            elif parameter.dim() > 1 and not name.startswith(EMBEDDING):
                parameter.div_(width**0.5)


def scaled_groups(
    model: torch.nn.Module, width: float, rates: tuple[float, float], epsilon: float
) -> list[dict[str, Any]]:
    """Parameter groups of AdamW, in the order of the unscaled ones: embedding, matrices, gains, final gain.

    Args:
        model: whose weights are trained.
        width: hidden size / base hidden size.
        rates: peak and final learning rate at the base; the scheduler reads those of a group from it.
        epsilon: of Adam at the base.
    """
    named = dict(model.named_parameters())
    final = [named.pop(FINAL_NORM)]
    embedding = [weight for name, weight in named.items() if weight.dim() > 1 and name.startswith(EMBEDDING)]
    matrices = [weight for name, weight in named.items() if weight.dim() > 1 and not name.startswith(EMBEDDING)]
    gains = [weight for weight in named.values() if weight.dim() <= 1]
    scaled = {"max_lr": rates[0] / width, "min_lr": rates[1] / width}
    return [
        {"params": embedding, "wd_mult": 1.0},
        {"params": matrices, "wd_mult": 1.0, "eps": epsilon / width, **scaled},
        {"params": gains, "wd_mult": 0.0},
        {"params": final, "wd_mult": 0.0, "eps": epsilon * width, **scaled},
    ]
