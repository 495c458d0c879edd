"""Proof, before a run relies on them, that other layers compute on this device what the plain ones do.

Transformer Engine's and compiled layers run on devices that no test of this program has seen. So a run that would train
through them first takes one micro batch, in the run's own shape, masks and arithmetic, through both kinds of layers, on
a model of two layers, and compares loss and gradients of every weight. The weights are made so that each part counts:
what the norms see is about as large as their epsilon, scores of attention differ by some units, gains are no ones.
So a norm without its epsilon or gain, another rotation, mask or scale of attention change the gradient of some weight
by more than `MOST`, and rounding to bfloat16 by far less. Weights and batch come from seeds of their own, and
generators are left as they were found: a resumed run does the same again and comes to the same end.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from megatron.core.models.gpt import GPTModel
from torch import Tensor

from mixproof.ledger.fingerprint import derive_seed
from mixproof.train.distributed import Ranks
from mixproof.train.request import RunRequest

from .attention import document_starts
from .micro_batch import Batch, StepPlan, micro_batch_loss, steps_of
from .model import NORM_EPSILON, build_model
from .random_numbers import random_numbers_kept

LAYERS = 2
"""All kinds of kernels, and little rounding on the way."""
MOST = 0.05
"""Length of a difference over the length of a gradient. Four times what rounding does: on a CPU two right kinds of
layers in bfloat16 differ by 1.1% to 1.3% in the weight that differs most (nano, 62m and 350m; 512 to 16,384 tokens).
Both differ from float32 by 1.1% to 4.1%, growing with the tokens, but alike. Of wrong kinds a scale of attention that
is off by a tenth gives 12%, a norm that subtracts the mean 8% to 28%, a norm without its epsilon 280% and more."""
DOCUMENT_TOKENS = 64
"""Mean length of the batch's documents."""


def why_not(
    through: Callable[[GPTModel], GPTModel], request: RunRequest, ranks: Ranks, *, in_bfloat16: bool
) -> str | None:
    """What speaks against training a run through other layers; None where they compute what the plain ones do.

    Args:
        through: makes those layers over the weights of a model, on the device.
        request: the run.
        ranks: of which each tries on its own device.
        in_bfloat16: whether the run computes so.

    Returns:
        The same on every rank.
    """
    with random_numbers_kept(ranks.device):
        mine = _why_not_here(through, request, ranks, in_bfloat16)
    failed = torch.tensor(0.0 if mine is None else 1.0, device=ranks.device)
    ranks.sum(failed)
    if not failed:
        return None
    return ranks.agree(mine or f"{int(failed)} of the other ranks cannot rely on them")


def _why_not_here(
    through: Callable[[GPTModel], GPTModel], request: RunRequest, ranks: Ranks, in_bfloat16: bool
) -> str | None:
    plan = steps_of(request, ranks)
    batch = seeded_batch(request.tokenizer.vocab_size, plan, ranks.device)
    model = seeded_model(request, ranks.device)
    try:
        plain = gradients(model, model, batch, plan, in_bfloat16)
        other = gradients(through(model), model, batch, plan, in_bfloat16)
    except Exception as error:  # noqa: BLE001  whatever another package raises is a reason, and is recorded
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
    return disagreement(plain, other)


def seeded_model(request: RunRequest, device: torch.device) -> GPTModel:
    """A model of the run's widths and two layers, with weights that make every part of it count."""
    model = build_model(
        request.shape.model_copy(update={"layers": LAYERS}),
        vocab_size=request.tokenizer.vocab_size,
        sequence_length=request.budget.sequence_length,
        rope_base=request.rope_base,
        seed=0,
        device=device,
    )
    small = NORM_EPSILON**0.5
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            normal = torch.randn(parameter.shape, generator=_generator(name))
            if parameter.dim() == 1:  # gains
                parameter.copy_((normal / 2).clamp(-1, 1).exp())
            elif name.endswith(("linear_qkv.weight", "linear_fc1.weight")):  # behind norms: to sizes of some units
                parameter.copy_(normal / parameter.size(1) ** 0.5)
            elif "embedding" in name:
                parameter.copy_(normal * small)
            else:  # back to the states that norms see
                parameter.copy_(normal * (small / parameter.size(1) ** 0.5))
    return model


def seeded_batch(vocab_size: int, plan: StepPlan, device: torch.device) -> Batch:
    """One micro batch of random ids in documents."""
    generator = _generator("batch")
    shape = (plan.micro_batch_size, plan.sequence_length + 1)
    ids = torch.randint(vocab_size, shape, generator=generator)
    ids[torch.rand(shape, generator=generator) < 1 / DOCUMENT_TOKENS] = plan.eod_id
    tokens, labels = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    place = torch.arange(plan.sequence_length).expand_as(tokens)
    batch = {
        "tokens": tokens,
        "labels": labels,
        "loss_mask": torch.ones(tokens.shape),
        "position_ids": place - document_starts(tokens, plan.eod_id) if plan.masks.reset_position_ids else place,
    }
    return {name: tensor.to(device) for name, tensor in batch.items()}


def gradients(through: GPTModel, model: GPTModel, batch: Batch, plan: StepPlan, in_bfloat16: bool) -> dict[str, Tensor]:
    """Mean loss of a batch, as `loss`, and its gradient of every weight of `model`, by name."""
    names, weights = zip(*model.named_parameters(), strict=True)
    loss, _ = micro_batch_loss(through.train(), batch, plan, in_bfloat16=in_bfloat16)
    mean = loss / batch["loss_mask"].sum()
    return {"loss": mean.detach(), **dict(zip(names, torch.autograd.grad(mean, weights), strict=True))}


def disagreement(plain: dict[str, Tensor], other: dict[str, Tensor]) -> str | None:
    """What differs most by more than rounding, in words."""
    found = {name: distance(plain[name], other[name]) for name in plain}
    name, most = max(found.items(), key=lambda item: item[1])
    if most <= MOST:
        return None
    what = "the loss" if name == "loss" else f"the gradient of {name}"
    return f"{what} differs from that of plain layers by {most:.1%}; rounding gives less than {MOST:.0%}"


def distance(one: Tensor, other: Tensor) -> float:
    """Length of the difference over the length of `one`; infinite where a number is none."""
    found = float((one.double() - other.double()).norm() / one.double().norm())
    return found if found == found else float("inf")


def _generator(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed("proof", name))
