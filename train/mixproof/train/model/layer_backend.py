"""Which layers a run trains through: Transformer Engine's, compiled ones, or plain ones.

On CUDA the first of these that proves itself there (`proof.py`): Transformer Engine's layers with its attention
(where no document mask is asked for), the same with torch's attention, our own compiled, our own plain. On a CPU the
layers of a long run are compiled where there is a compiler. What is chosen depends on what is asked for and on the
machine, never on how far a run is, so that a resumed run does as it did. Scoring is plain on every device.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from megatron.core.extensions.transformer_engine import HAVE_TE
from megatron.core.models.gpt import GPTModel
from megatron.core.utils import get_te_version

from mixproof.train.distributed import Ranks
from mixproof.train.proxies import flops_per_token
from mixproof.train.request import RunRequest

from .backend_check import why_not
from .layer_math import PLAIN, LayerMath, compiled, why_not_compiled
from .model import use_math

COMPILED_FROM_FLOPS = {"cpu": 10**14, "cuda": 10**17}
"""Operations of a run from which its layers are compiled. On a CPU a quarter of an hour of a core: compiling takes half
a minute where it was never done and a few seconds afterwards, and steps were 0% to 7% faster. On CUDA some minutes of
a GPU, chosen and not measured."""


@dataclass(frozen=True)
class Layers:
    """One way to train a model's weights."""

    name: str
    over: Callable[[GPTModel], GPTModel]
    """What to train through, given the model that has the weights."""


def choose_layers(model: GPTModel, request: RunRequest, ranks: Ranks) -> tuple[GPTModel, str]:
    """What to train `model` through, and its name, with what spoke against other layers; the same on every rank."""
    found, against = offered(request, ranks)
    if ranks.device.type == "cuda":
        return first_proven(found, model, request, ranks, against)
    if found:  # compiled for a CPU, as this program's tests do
        return found[0].over(model), found[0].name
    return model, _plain(against)


def offered(request: RunRequest, ranks: Ranks) -> tuple[list[Layers], list[str]]:
    """Layers that this installation has for a run, the best first, and what keeps it from others."""
    device = ranks.device.type
    each = flops_per_token(request.shape, request.tokenizer.vocab_size, request.budget.sequence_length)
    long = each * request.budget.tokens_planned >= COMPILED_FROM_FLOPS[device]
    why = ranks.agree(why_not_compiled(device) or "") if long else ""
    math = compiled() if long and not why else None
    found = []
    if device == "cuda" and HAVE_TE:
        name = f"transformer_engine {get_te_version()}" + (", compiled" if math else "")
        if not request.masks.document_mask:
            found.append(Layers(name, _engine(math or PLAIN, own_attention=False)))
        found.append(Layers(f"{name}, attention of torch", _engine(math or PLAIN, own_attention=True)))
    if math is not None:
        found.append(Layers("compiled", _with_math(math)))
    return found, [why] if why else []


def first_proven(
    found: Sequence[Layers],
    model: GPTModel,
    request: RunRequest,
    ranks: Ranks,
    reasons: Sequence[str] = (),
    *,
    in_bfloat16: bool = True,
) -> tuple[GPTModel, str]:
    """The first layers that compute what the plain ones do; plain ones where none does.

    Args:
        found: the best first; those of the first rank are tried, and each rank needs to have them.
        model: with the weights.
        request: the run.
        ranks: of the run.
        reasons: what spoke against layers that are not in `found`.
        in_bfloat16: whether the run computes so.
    """
    against = list(reasons)
    mine = {layers.name: layers.over for layers in found}
    for name in json.loads(ranks.agree(json.dumps(list(mine)))):
        over = mine.get(name, _not_here)
        reason = why_not(over, request, ranks, in_bfloat16=in_bfloat16)
        if reason is None:
            return over(model), "; ".join([name, *against])
        against.append(f"{name}: {reason}")
        if ranks.first:
            print(f"not trained through {against[-1]}", file=sys.stderr)
    return model, _plain(against)


def _plain(against: Sequence[str]) -> str:
    return f"plain: {'; '.join(against)}" if against else "plain"


def _not_here(_: GPTModel) -> GPTModel:
    raise RuntimeError("not installed on every machine")


def _with_math(math: LayerMath) -> Callable[[GPTModel], GPTModel]:
    def over(model: GPTModel) -> GPTModel:
        use_math(model, math)
        return model

    return over


def _engine(math: LayerMath, *, own_attention: bool) -> Callable[[GPTModel], GPTModel]:
    def over(model: GPTModel) -> GPTModel:
        from .transformer_engine_layers import engine_model  # its classes derive from Transformer Engine's

        engine = engine_model(model, own_attention=own_attention)
        use_math(engine, math)
        return engine

    return over
