"""Which layer backend a run trains through: Transformer Engine's, compiled or plain layers.

On CUDA the first backend that passes `backend_check.py` is used, in this order: Transformer Engine's layers with its
own attention (not under a document mask), the same with torch's attention, this package's layers compiled, this
package's layers plain. On a CPU the layers of a long run are compiled if there is a compiler. The choice depends on
the request and the machine, never on the run's progress, so a resumed run chooses the same backend. Scoring is always
plain.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from megatron.core.extensions.transformer_engine import HAVE_TE
from megatron.core.models.gpt import GPTModel
from megatron.core.utils import get_te_version

from mixproof.train.distributed import Ranks
from mixproof.train.proxies import flops_of_tokens
from mixproof.train.request import RunRequest

from .backend_check import reason_to_reject
from .layer_history import LayerHistory, RejectedBackend
from .layer_math import PLAIN, LayerMath, compiled, why_not_compiled
from .model import use_math

COMPILED = "compiled"
COMPILED_FROM_FLOPS = {"cpu": 10**14, "cuda": 10**17}
"""Training FLOPs of a run from which its layers are compiled. On a CPU this is a quarter of an hour of one core:
compiling takes half a minute the first time and a few seconds afterwards, and steps were 0% to 7% faster. On CUDA it is
a few minutes of a GPU; that number was chosen, not measured."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LayerBackend:
    """One implementation of the layers."""

    name: str
    wrap: Callable[[GPTModel], GPTModel]
    """Given the model that owns the weights, returns the model to train through."""


def choose_backend(model: GPTModel, request: RunRequest, ranks: Ranks) -> tuple[GPTModel, LayerHistory]:
    """Choose the backend of a run; the same on every rank.

    Returns:
        The model to train through, over the weights of `model`, and the backend with the reasons against others.
    """
    available, rejected = available_backends(request, ranks)
    if ranks.device.type == "cuda":
        return first_that_agrees(available, model, request, ranks, rejected)
    if available:  # compiled for a CPU, which the tests cover
        return available[0].wrap(model), LayerHistory(available[0].name)
    return model, LayerHistory(rejected=tuple(rejected))


def available_backends(request: RunRequest, ranks: Ranks) -> tuple[list[LayerBackend], list[RejectedBackend]]:
    """List the backends that this installation has for a run, best first, and those that it lacks."""
    device = ranks.device.type
    tokens = request.budget.tokens_by_length(request.budget.samples)
    flops = flops_of_tokens(request.shape, request.tokenizer.vocab_size, tokens)
    is_long = flops >= COMPILED_FROM_FLOPS[device]
    reason = ranks.agree(why_not_compiled(device) or "") if is_long else ""
    math = compiled() if is_long and not reason else None
    available = []
    if device == "cuda" and HAVE_TE:
        name = f"transformer_engine {get_te_version()}" + (", compiled" if math else "")
        if not request.masks.document_mask:
            available.append(LayerBackend(name, _engine(math or PLAIN, own_attention=False)))
        available.append(LayerBackend(f"{name}, attention of torch", _engine(math or PLAIN, own_attention=True)))
    if math is not None:
        available.append(LayerBackend(COMPILED, _with_math(math)))
    return available, [RejectedBackend(COMPILED, reason)] if reason else []


def first_that_agrees(
    available: Sequence[LayerBackend],
    model: GPTModel,
    request: RunRequest,
    ranks: Ranks,
    rejected: Sequence[RejectedBackend] = (),
    *,
    in_bfloat16: bool = True,
) -> tuple[GPTModel, LayerHistory]:
    """Return the first backend that agrees with the plain layers; the plain layers if none does.

    Args:
        available: best first. The list of rank 0 is tried, and every rank must have the backend.
        model: owns the weights.
        request: the run.
        ranks: of the run.
        rejected: backends that are not in `available`, with reasons.
        in_bfloat16: whether the run computes in bfloat16.
    """
    reasons = list(rejected)
    by_name = {backend.name: backend.wrap for backend in available}
    for name in json.loads(ranks.agree(json.dumps(list(by_name)))):
        wrap = by_name.get(name, _not_installed)
        reason = reason_to_reject(wrap, request, ranks, in_bfloat16=in_bfloat16)
        if reason is None:
            return wrap(model), LayerHistory(name, tuple(reasons))
        reasons.append(RejectedBackend(name, reason))
        if ranks.first:
            logger.warning("layer backend %s rejected: %s", name, reason)
    return model, LayerHistory(rejected=tuple(reasons))


def _not_installed(_: GPTModel) -> GPTModel:
    raise RuntimeError("not installed on every machine")


def _with_math(math: LayerMath) -> Callable[[GPTModel], GPTModel]:
    def wrap(model: GPTModel) -> GPTModel:
        use_math(model, math)
        return model

    return wrap


def _engine(math: LayerMath, *, own_attention: bool) -> Callable[[GPTModel], GPTModel]:
    def wrap(model: GPTModel) -> GPTModel:
        from .transformer_engine_layers import engine_model  # its classes derive from Transformer Engine's

        engine = engine_model(model, own_attention=own_attention)
        use_math(engine, math)
        return engine

    return wrap
