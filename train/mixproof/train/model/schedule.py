"""The warm-up-stable-decay (WSD) learning-rate schedule, by Megatron's OptimizerParamScheduler.

It counts samples, as Megatron does: the step that starts at sample n uses the learning rate of n. The first step of a
warm-up therefore has rate 0 and only updates the optimizer's moments, as in every Megatron run, and the last step of a
decay is one step short of `min_lr`.
"""

from __future__ import annotations

import torch
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

from mixproof.mixtures.arithmetic.budget import RunBudget


def build_scheduler(
    optimizer: torch.optim.Optimizer, budget: RunBudget, *, lr: float, min_lr: float, weight_decay: float, shape: str
) -> OptimizerParamScheduler:
    """Build the schedule of a run at sample 0; weight decay is constant."""
    batch = budget.global_batch_size
    return OptimizerParamScheduler(
        optimizer,
        init_lr=0.0,
        max_lr=lr,
        min_lr=min_lr,
        lr_warmup_steps=budget.warmup_steps * batch,
        lr_decay_steps=budget.steps * batch,
        lr_decay_style="WSD",
        start_wd=weight_decay,
        end_wd=weight_decay,
        wd_incr_steps=1,
        wd_incr_style="constant",
        wsd_decay_steps=budget.decay_steps * batch,
        lr_wsd_decay_style=shape,
    )
