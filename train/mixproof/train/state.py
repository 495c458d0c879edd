"""The state of a run: model, optimizer, schedule and how much it has consumed; all that a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler
from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed

from mixproof.ledger.fingerprint import derive_seed

from .distributed import Ranks
from .layer_math import why_not_compiled
from .model import build_model, compile_layers, recompute_layers
from .optimizer import build_optimizer
from .proxies import flops_per_token
from .request import RunRequest
from .schedule import build_scheduler

Dtype = Literal["float32", "bfloat16"]
COMPILED_FROM_FLOPS = 10**14
"""Operations of a run from which its layers are compiled on a CPU: a quarter of an hour of a core. Compiling takes half
a minute where it was never done and a few seconds afterwards, and steps were 0% to 7% faster."""


@dataclass
class TrainingState:
    """What changes while a run is trained."""

    model: GPTModel
    optimizer: torch.optim.AdamW
    scheduler: OptimizerParamScheduler
    dtype: Dtype
    """Arithmetic of the forward pass: float32 on CPU, bfloat16 by autocast on CUDA."""
    layers: str = "plain"
    """How the layers compute between their matrix products: `compiled`, or `plain` with what kept it from compiling."""
    consumed_samples: int = 0


def build_state(request: RunRequest, ranks: Ranks) -> TrainingState:
    """Make a run's state before its first step; the same on every rank."""
    recipe, budget = request.recipe, request.budget
    model = build_model(
        request.shape,
        vocab_size=request.tokenizer.vocab_size,
        sequence_length=budget.sequence_length,
        rope_base=request.rope_base,
        seed=request.seed,
        device=ranks.device,
    )
    if request.recompute:
        recompute_layers(model)
    if ranks.device.type == "cuda":
        model_parallel_cuda_manual_seed(derive_seed("cuda", request.seed))
    lr, min_lr, weight_decay, beta1, beta2 = (
        float(Fraction(text)) for text in (recipe.lr, recipe.min_lr, recipe.weight_decay, *recipe.betas)
    )
    optimizer = build_optimizer(model, lr=lr, betas=(beta1, beta2))
    scheduler = build_scheduler(optimizer, budget, lr=lr, min_lr=min_lr, weight_decay=weight_decay, shape=recipe.shape)
    layers = _compile_where_it_pays(model, request, ranks)
    return TrainingState(model, optimizer, scheduler, "bfloat16" if ranks.device.type == "cuda" else "float32", layers)


def _compile_where_it_pays(model: GPTModel, request: RunRequest, ranks: Ranks) -> str:
    """Compile the layers of a long run on a CPU; by what was asked for alone, so that a resumed run does it again."""
    budget = request.budget
    each = flops_per_token(request.shape, request.tokenizer.vocab_size, budget.sequence_length)
    if ranks.device.type != "cpu" or each * budget.tokens_planned < COMPILED_FROM_FLOPS:
        return "plain"
    if reason := ranks.agree(why_not_compiled() or ""):
        return f"plain: {reason}"
    compile_layers(model)
    return "compiled"
