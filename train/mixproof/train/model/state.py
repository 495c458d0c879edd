"""The state of a run: model, optimizer, schedule and consumed samples, which is all that a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import torch
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler
from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed

from mixproof.ledger.fingerprint import derive_seed
from mixproof.train.distributed import Ranks
from mixproof.train.request import RunRequest

from .layer_backend import choose_backend
from .layer_history import LayerHistory
from .model import build_model, recompute_layers
from .mup import scale_initial_weights
from .optimizer import build_optimizer
from .reward_head import add_reward_head
from .schedule import build_scheduler

Dtype = Literal["float32", "bfloat16"]


@dataclass
class TrainingState:
    """What changes while a run trains."""

    model: GPTModel
    """Owns the weights, which are stepped, saved and scored."""
    optimizer: torch.optim.AdamW
    scheduler: OptimizerParamScheduler
    dtype: Dtype
    """Of the forward pass: float32 on CPU, bfloat16 by autocast on CUDA."""
    layers: LayerHistory = field(default_factory=LayerHistory)
    """The layer backends that trained the weights."""
    learner: GPTModel | None = None
    """Another backend over the weights of `model`, to train through; None: `model` itself."""
    consumed_samples: int = 0


def build_state(request: RunRequest, ranks: Ranks) -> TrainingState:
    """Make the state of a run before its first step; the same on every rank."""
    recipe, budget = request.recipe, request.budget
    model = build_model(
        request.shape,
        vocab_size=request.tokenizer.vocab_size,
        sequence_length=max(map(budget.length_of, budget.phases)),
        rope_base=request.rope_base,
        seed=request.seed,
        device=ranks.device,
    )
    width = 1.0 if recipe.mup_base_hidden is None else request.shape.hidden / int(recipe.mup_base_hidden)
    output = 1.0 if recipe.mup_output is None else float(Fraction(recipe.mup_output))
    if not width == output == 1:
        scale_initial_weights(model, width, output)
    trained = request.post_training
    if trained is not None and trained.reward is not None:
        add_reward_head(model, request.shape.hidden, trained.reward.outputs, request.seed)
    if ranks.device.type == "cuda":
        model_parallel_cuda_manual_seed(derive_seed("cuda", request.seed))
    lr, min_lr, weight_decay, beta1, beta2 = (
        float(Fraction(text)) for text in (recipe.lr, recipe.min_lr, recipe.weight_decay, *recipe.betas)
    )
    optimizer = build_optimizer(model, lr=lr, betas=(beta1, beta2), min_lr=min_lr, width=width, output=output)
    scheduler = build_scheduler(optimizer, budget, lr=lr, min_lr=min_lr, weight_decay=weight_decay, shape=recipe.shape)
    learner, layers = choose_backend(model, request, ranks)
    if request.recompute:
        recompute_layers(learner)
    dtype: Dtype = "bfloat16" if ranks.device.type == "cuda" else "float32"
    return TrainingState(model, optimizer, scheduler, dtype, layers, learner)
