"""What `gpu.py` measures: a request without data, its steps, and the ways to train the same model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from megatron.core.extensions.transformer_engine import HAVE_TE
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import (
    get_gpt_layer_local_spec,
    get_gpt_layer_with_transformer_engine_spec,
)
from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed
from torch import Tensor

from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.arithmetic.phase_budget import PhaseBudget
from mixproof.train.distributed import Ranks, sum_gradients
from mixproof.train.model.layer_backend import available_backends
from mixproof.train.model.micro_batch import micro_batch_loss, step_plan
from mixproof.train.model.model import build_model, model_config
from mixproof.train.model.state import TrainingState
from mixproof.train.model.training_loss import training_loss
from mixproof.train.proxies import PROXIES
from mixproof.train.record import ArchitectureRecord, MasksRecord
from mixproof.train.request import Recipe, RunRequest
from proxies import VOCAB_SIZE, Step, hugging_face, megatron, stepping

SAMPLES = {"cpu": 2, "cuda": 16}
"""Samples of a step."""
STEPS = 1_000_000
"""Of the made-up run: long enough that its layers are compiled where that is possible."""
GRAPHS = ", CUDA graph"
PEER = "hugging face, compiled"
WARM_UP_STEPS = 3


def request_of(proxy: str, length: int, device: str, *, document_mask: bool = False) -> RunRequest:
    """A run without data: its shape, recipe and budget are all that the model and its step need."""
    samples = SAMPLES[device] * STEPS
    return RunRequest(
        store="",
        build="0" * 64,
        spec_name="gpu",
        mixture="none",
        proxy=proxy,
        seed=1,
        architecture=ArchitectureRecord(**PROXIES[proxy].model_dump()),
        recipe=Recipe(
            lr="0.001", min_lr="0.0001", shape="minus_sqrt", weight_decay="0.1", clip="1", betas=("0.9", "0.95")
        ),
        masks=MasksRecord(document_mask=document_mask, eod_mask_loss=False, reset_position_ids=False),
        rope_base=10_000,
        budget=RunBudget(
            tokens_declared=samples * length,
            steps=STEPS,
            global_batch_size=SAMPLES[device],
            sequence_length=length,
            samples=samples,
            tokens_planned=samples * length,
            warmup_steps=2,
            decay_steps=3,
            checkpoint_steps=None,
            phases=(PhaseBudget(0, samples, {"none": samples}),),
            declared={"none": Fraction(1)},
        ),
        tokenizer=TokenizerRecord(kind="sentencepiece", path="", sha256="0" * 64, vocab_size=VOCAB_SIZE, eod_id=2),
        draws={},
        heldout={},
        device="cuda" if device == "cuda" else "cpu",
        micro_batch_size=None,
    )


def step_losses(state: TrainingState, request: RunRequest, ranks: Ranks, steps: int) -> list[float]:
    """Train some steps on random ids, which depend on the consumed samples only; returns the mean loss of each."""
    plan, found = step_plan(request, ranks), []
    learner = (state.learner or state.model).train()
    in_bfloat16 = state.dtype == "bfloat16"
    for _ in range(steps):
        generator = torch.Generator().manual_seed(state.consumed_samples)
        ids = torch.randint(VOCAB_SIZE, (plan.global_batch_size, plan.sequence_length + 1), generator=generator)
        total = torch.zeros((), device=ranks.device)
        per_rank = plan.global_batch_size // ranks.size
        own = ids[ranks.rank * per_rank : (ranks.rank + 1) * per_rank]
        for first in range(0, per_rank, plan.micro_batch_size):
            rows = own[first : first + plan.micro_batch_size]
            tokens = rows[:, :-1].contiguous().to(ranks.device)
            batch = {
                "tokens": tokens,
                "labels": rows[:, 1:].contiguous().to(ranks.device),
                "loss_mask": torch.ones(tokens.shape, device=ranks.device),
                "position_ids": torch.arange(plan.sequence_length, device=ranks.device).expand_as(tokens),
            }
            loss, _ = micro_batch_loss(learner, batch, plan, in_bfloat16=in_bfloat16)
            torch.autograd.backward(loss / (plan.global_batch_size * plan.sequence_length))
            total += loss.detach()
        parameters = list(state.model.parameters())
        sum_gradients(parameters, ranks)
        ranks.sum(total)
        torch.nn.utils.clip_grad_norm_(parameters, plan.clip)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.scheduler.step(plan.global_batch_size)
        state.consumed_samples += plan.global_batch_size
        found.append(float(total) / (plan.global_batch_size * plan.sequence_length))
    return found


def training_ways(proxy: str, length: int, ranks: Ranks) -> dict[str, Callable[[], Step]]:
    """The ways to make a step of this proxy, by name: mixproof's backends, Hugging Face's model, Megatron's layers."""
    shape, device = PROXIES[proxy], ranks.device
    on_cuda = device.type == "cuda"
    wraps = {"plain": _as_it_is, **_wraps(proxy, length, ranks)}
    ways: dict[str, Callable[[], Step]] = {
        f"mixproof, {name}": partial(_ours, proxy, length, device, wrap) for name, wrap in wraps.items()
    }
    ways[PEER] = lambda: _by_torch_defaults(hugging_face(shape, length, device, compiled=on_cuda))
    own = partial(_megatron_on_cuda, proxy, length) if on_cuda else partial(megatron, shape, length)
    ways["megatron, its own layers"] = lambda: _by_torch_defaults(own())
    return ways


def graph_ways(proxy: str, length: int, ranks: Ranks) -> dict[str, Callable[[], Step]]:
    """A step of the best backend, with and without a CUDA graph."""
    name, wrap = next(iter(_wraps(proxy, length, ranks).items()), ("plain", _as_it_is))
    make = partial(_ours, proxy, length, ranks.device, wrap)
    return {f"mixproof, {name}": make, f"mixproof, {name}{GRAPHS}": partial(make, graphed=True)}


def _wraps(proxy: str, length: int, ranks: Ranks) -> dict[str, Callable[[GPTModel], GPTModel]]:
    """What puts each installed backend over a model, best first."""
    backends, _ = available_backends(request_of(proxy, length, ranks.device.type), ranks)
    return {backend.name: backend.wrap for backend in backends}


def _as_it_is(model: GPTModel) -> GPTModel:
    return model


def _by_torch_defaults(step: Step) -> Step:
    """Let a step use any kernel, as other software does: mixproof's own may use deterministic ones only."""

    def free_step(tokens: Tensor, labels: Tensor) -> float:
        deterministic, matmul = torch.are_deterministic_algorithms_enabled(), torch.backends.cuda.matmul
        reduced = matmul.allow_bf16_reduced_precision_reduction
        torch.use_deterministic_algorithms(False)
        matmul.allow_bf16_reduced_precision_reduction = True
        try:
            return step(tokens, labels)
        finally:
            torch.use_deterministic_algorithms(deterministic)
            matmul.allow_bf16_reduced_precision_reduction = reduced

    return free_step


def _ours(
    proxy: str, length: int, device: torch.device, wrap: Callable[[GPTModel], GPTModel], *, graphed: bool = False
) -> Step:
    model = build_model(
        PROXIES[proxy], vocab_size=VOCAB_SIZE, sequence_length=length, rope_base=10_000, seed=1, device=device
    )
    learner = wrap(model).train()

    def loss_of(tokens: Tensor, labels: Tensor) -> Tensor:
        positions = torch.arange(length, device=device).expand_as(tokens)
        weights = torch.ones_like(labels, dtype=torch.float32)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            total, _ = training_loss(learner, tokens, positions, None, labels, weights)
        return total / labels.numel()

    return _graphed(model, loss_of) if graphed else stepping(model, loss_of)


def _graphed(model: GPTModel, loss_of: Callable[[Tensor, Tensor], Tensor]) -> Step:
    """A step whose forward and backward pass are one CUDA graph, captured at its first call."""
    from mixproof.train.model.optimizer import build_optimizer

    optimizer = build_optimizer(model, lr=1e-4, betas=(0.9, 0.95))
    parameters: Sequence[Tensor] = list(model.parameters())
    captured: list[Any] = []

    def capture(tokens: Tensor, labels: Tensor) -> None:
        held = tokens.clone(), labels.clone()
        side: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's stubs
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_STEPS):
                torch.autograd.backward(loss_of(*held))
                optimizer.zero_grad(set_to_none=True)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # NCCL's watchdog may call CUDA meanwhile
            loss = loss_of(*held)
            torch.autograd.backward(loss)
        captured.extend((graph, *held, loss))

    def step(tokens: Tensor, labels: Tensor) -> float:
        if not captured:
            capture(tokens, labels)
        graph, held_tokens, held_labels, loss = captured
        held_tokens.copy_(tokens)
        held_labels.copy_(labels)
        graph.replay()  # writes the same gradients in place, so none is reset
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return float(loss.detach())

    return step


def _megatron_on_cuda(proxy: str, length: int) -> Step:
    """Megatron Core's GPTModel with its own layers: Transformer Engine's where it is installed, else the local ones.

    With the fusions that Megatron's training script uses by default and that need no further package.
    """
    fusions = {"bias_activation_fusion": True, "bias_dropout_fusion": True, "masked_softmax_fusion": True}
    config = replace(model_config(PROXIES[proxy]), **fusions, apply_rope_fusion=HAVE_TE)
    model_parallel_cuda_manual_seed(1)  # its attention forks the generator even without dropout
    spec = (
        get_gpt_layer_with_transformer_engine_spec() if HAVE_TE else get_gpt_layer_local_spec(normalization="RMSNorm")
    )
    model = GPTModel(
        config=config,
        transformer_layer_spec=spec,
        vocab_size=VOCAB_SIZE,
        max_sequence_length=length,
        position_embedding_type="rope",
        share_embeddings_and_output_weights=True,
    ).cuda()
    hidden = torch.ones(length, length, dtype=torch.bool, device="cuda").triu(1)[None, None]
    positions = torch.arange(length, device="cuda")[None]

    def loss_of(tokens: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            losses: Tensor = model(tokens, positions.expand_as(tokens), hidden, labels=labels)
        return losses.mean()

    return stepping(model, loss_of)
