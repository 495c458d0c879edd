"""Backend check: before a run relies on a layer backend, compare it with the plain layers on the run's device.

Transformer Engine's and compiled layers run on devices that no test of this package has seen. Before a run trains
through them, one micro batch in the run's own shape, masks and dtype goes through both backends on a two-layer model,
and the loss and the gradient of every weight are compared. The weights are chosen so that every part matters: norm
inputs are about as large as the norm's epsilon, attention scores differ by several units, gains differ from one. A norm
without its epsilon or gain, or a different rotation, mask or attention scale, therefore changes some gradient by more
than `MAX_DIFFERENCE`, and rounding to bfloat16 changes it by far less. Weights and batch have their own seeds, and the
generators are restored afterwards, so a resumed run repeats the check with the same outcome.
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
from .micro_batch import Batch, StepPlan, micro_batch_loss, step_plan
from .model import NORM_EPSILON, build_model
from .random_numbers import preserved_random_state

LAYERS = 2
"""Covers every kernel with little accumulated rounding."""
MAX_DIFFERENCE = 0.05
"""Norm of the difference over the norm of the gradient. This is four times what rounding causes: on a CPU two correct
backends in bfloat16 differ by 1.1% to 1.3% in the weight that differs most (nano, 62m and 350m; 512 to 16,384 tokens).
Both differ from float32 by 1.1% to 4.1%, growing with the tokens, but in the same way. Of wrong backends, an attention
scale off by a tenth gives 12%, a norm that subtracts the mean 8% to 28%, a norm without epsilon 280% and more."""
DOCUMENT_TOKENS = 64
"""Mean document length in the batch."""


def reason_to_reject(
    wrap: Callable[[GPTModel], GPTModel], request: RunRequest, ranks: Ranks, *, in_bfloat16: bool
) -> str | None:
    """Check a backend; None if it agrees with the plain layers on every rank.

    Args:
        wrap: puts the backend over the weights of a model, on the device.
        request: the run.
        ranks: each checks on its own device.
        in_bfloat16: whether the run computes in bfloat16.

    Returns:
        The same reason on every rank.
    """
    with preserved_random_state(ranks.device):
        reason = _reason_here(wrap, request, ranks, in_bfloat16)
    failed = torch.tensor(0.0 if reason is None else 1.0, device=ranks.device)
    ranks.sum(failed)
    if not failed:
        return None
    return ranks.agree(reason or f"the check failed on {int(failed)} of the other ranks")


def _reason_here(
    wrap: Callable[[GPTModel], GPTModel], request: RunRequest, ranks: Ranks, in_bfloat16: bool
) -> str | None:
    plan = step_plan(request, ranks)
    batch = seeded_batch(request.tokenizer.vocab_size, plan, ranks.device)
    model = seeded_model(request, ranks.device)
    try:
        plain = gradients(model, model, batch, plan, in_bfloat16)
        other = gradients(wrap(model), model, batch, plan, in_bfloat16)
    except Exception as error:  # noqa: BLE001  whatever another package raises is a reason, and is recorded
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
    return disagreement(plain, other)


def seeded_model(request: RunRequest, device: torch.device) -> GPTModel:
    """Build a two-layer model of the run's widths, with weights that make every part of it matter."""
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
            elif name.endswith(("linear_qkv.weight", "linear_fc1.weight")):  # after norms: outputs of several units
                parameter.copy_(normal / parameter.size(1) ** 0.5)
            elif "embedding" in name:
                parameter.copy_(normal * small)
            else:  # back to the size of the norms' inputs
                parameter.copy_(normal * (small / parameter.size(1) ** 0.5))
    return model


def seeded_batch(vocab_size: int, plan: StepPlan, device: torch.device) -> Batch:
    """Make one micro batch of random ids, cut into documents."""
    generator = _generator("batch")
    shape = (plan.micro_batch_size, plan.sequence_length + 1)
    ids = torch.randint(vocab_size, shape, generator=generator)
    ids[torch.rand(shape, generator=generator) < 1 / DOCUMENT_TOKENS] = plan.eod_id
    tokens, labels = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    index = torch.arange(plan.sequence_length).expand_as(tokens)
    batch = {
        "tokens": tokens,
        "labels": labels,
        "loss_mask": torch.ones(tokens.shape),
        "position_ids": index - document_starts(tokens, plan.eod_id) if plan.masks.reset_position_ids else index,
    }
    return {name: tensor.to(device) for name, tensor in batch.items()}


def gradients(learner: GPTModel, model: GPTModel, batch: Batch, plan: StepPlan, in_bfloat16: bool) -> dict[str, Tensor]:
    """Return the mean loss of a batch through `learner`, as `loss`, and its gradients of the weights of `model`."""
    names, weights = zip(*model.named_parameters(), strict=True)
    loss, _ = micro_batch_loss(learner.train(), batch, plan, in_bfloat16=in_bfloat16)
    mean = loss / batch["loss_mask"].sum()
    return {"loss": mean.detach(), **dict(zip(names, torch.autograd.grad(mean, weights), strict=True))}


def disagreement(plain: dict[str, Tensor], other: dict[str, Tensor]) -> str | None:
    """Describe the largest difference if it exceeds rounding, else return None."""
    differences = {name: relative_difference(plain[name], other[name]) for name in plain}
    name, largest = max(differences.items(), key=lambda item: item[1])
    if largest <= MAX_DIFFERENCE:
        return None
    what = "the loss" if name == "loss" else f"the gradient of {name}"
    return f"{what} differs from the plain layers' by {largest:.1%}; rounding stays below {MAX_DIFFERENCE:.0%}"


def relative_difference(plain: Tensor, other: Tensor) -> float:
    """Norm of the difference over the norm of `plain`; infinite if it is NaN."""
    found = float((plain.double() - other.double()).norm() / plain.double().norm())
    return found if found == found else float("inf")


def _generator(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed("proof", name))
