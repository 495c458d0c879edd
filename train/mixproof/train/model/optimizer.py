"""AdamW with weight decay on matrices only.

There is no reason to pull vectors (the gains of RMSNorm) towards zero, so they do not decay. The embedding is a matrix
and decays. The scheduler sets each group's learning rate and decay (times its `wd_mult`) before every step. Weights and
moments are float32 on every device.
"""

from __future__ import annotations

import torch

from .mup import scaled_groups

EPSILON = 1e-8


def build_optimizer(
    model: torch.nn.Module,
    *,
    lr: float,
    betas: tuple[float, float],
    min_lr: float = 0.0,
    width: float = 1.0,
    output: float = 1.0,
) -> torch.optim.AdamW:
    """Build the optimizer of all weights of `model`, matrices before vectors; fused on every device.

    Args:
        model: whose weights are trained.
        lr: peak learning rate.
        betas: of Adam.
        min_lr: final learning rate, for groups that muP scales.
        width: hidden size over the base hidden size of muP; 1: no scaling.
        output: factor of the logits at muP's base; 1: no scaling.
    """
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "wd_mult": 1.0},
        {"params": [p for p in parameters if p.dim() <= 1], "wd_mult": 0.0},
    ]
    return torch.optim.AdamW(
        groups if width == output == 1 else scaled_groups(model, width, (lr, min_lr), EPSILON, output),
        lr=lr,
        betas=betas,
        eps=EPSILON,
        weight_decay=0.0,
        fused=True,
    )


def parameters_of(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    """All weights in the optimizer's order, which numbers its state."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
