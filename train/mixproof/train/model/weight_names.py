"""Map the weight names of Megatron-LM's checkpoints to those of `GPTModel.named_parameters()` here.

Three things differ: Transformer Engine fuses the gains of norms into the matrix after them; a torch_dist checkpoint
stacks the layers into one tensor; and the FFN of a model saved as a mixture of one expert is under
`mlp.experts.local_experts.0.*`, `moe.experts.0.*` or `mlp.experts.experts.*`, with gate and up in one matrix or two.
With one expert the router's softmax is 1, so the router's weights change nothing and are dropped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.train import Architecture

Weights = dict[str, Tensor]

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Dtypes of weights; others need scales."""

EMBEDDING = "embedding.word_embeddings.weight"
FINAL_NORM = "decoder.final_layernorm.weight"
_WHOLE = {
    "embedding.word_embeddings.weight": EMBEDDING,
    "word_embeddings.weight": EMBEDDING,
    "decoder.final_layernorm.weight": FINAL_NORM,
    "decoder.final_norm.weight": FINAL_NORM,
    "output_layer.weight": "output_layer.weight",
}
_OF_LAYER = {
    "input_layernorm.weight": "input_layernorm.weight",
    "self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
    "self_attention.linear_qkv.weight": "self_attention.linear_qkv.weight",
    "self_attention.linear_proj.weight": "self_attention.linear_proj.weight",
    "pre_mlp_layernorm.weight": "pre_mlp_layernorm.weight",
    "post_attention_layernorm.weight": "pre_mlp_layernorm.weight",
    "mlp.linear_fc1.layer_norm_weight": "pre_mlp_layernorm.weight",
}
_LAYER = re.compile(r"^(?:decoder\.)?layers\.(\d+)\.(.+)$")
_STACKED = re.compile(r"^decoder\.layers\.(?!\d)(.+)$")
_FFN = re.compile(
    r"^(?:mlp|moe)\.(?:experts\.(?:local_experts\.|experts\.)?(?:(\d+)\.)?)?"
    r"(linear_fc1|linear_fc2|gate_proj|up_proj|down_proj)\.weight$"
)
_ROUTER = re.compile(r"^(?:mlp|moe)\.(?:router|gate)\.")
_PREFIXES = ("module.", "model.")
_NO_WEIGHTS = ("_extra_state", "inv_freq", "_extra_state/")


def is_weight(name: str) -> bool:
    """Whether the optimizer has a state for a model's tensor; a tied output layer is the embedding."""
    return not any(word in name for word in _NO_WEIGHTS) and not name.endswith("output_layer.weight")


def rename(tensors: Mapping[str, Tensor], where: str) -> Weights:
    """Rename tensors to this package's names.

    Args:
        tensors: by the checkpoint's names; layers stacked or separate.
        where: the checkpoint, for errors.

    Raises:
        RequestError: for a weight that proxies do not have, naming it.
    """
    made: Weights = {}
    halves: dict[str, dict[str, Tensor]] = {}
    unknown = []
    for name, tensor in _one_by_one(tensors):
        if any(word in name for word in _NO_WEIGHTS):
            continue
        ours = name_in_model(name, where)
        if ours is None:
            unknown.append(name)
        elif ours.endswith((".gate", ".up")):
            halves.setdefault(ours.rpartition(".")[0], {})[ours.rpartition(".")[2]] = tensor
        elif ours:
            made[ours] = tensor
    if unknown:
        names = ", ".join(sorted(unknown)[:4])
        raise RequestError(
            f"{where}: the checkpoint has {len(unknown)} weights that no proxy has, such as {names}; it is a different "
            "model, so a proxy cannot start from it"
        )
    for layer, pair in halves.items():
        made[f"{layer}.mlp.linear_fc1.weight"] = torch.cat([pair[half] for half in ("gate", "up") if half in pair])
    _untie(made, where)
    return made


def check_shape(weights: Mapping[str, Tensor], architecture: Architecture, vocab_size: int, where: str) -> None:
    """Check that the weights fit a proxy of this shape.

    Raises:
        RequestError: naming the vocabulary, the number of parameters, or the first weight that is missing or has
            a different shape or a dtype that needs a scale.
    """
    expected = shapes_of(architecture, vocab_size)
    total = sum(math.prod(shape) for shape in expected.values())
    found = sum(tensor.numel() for tensor in weights.values())
    embedding = weights.get(EMBEDDING)
    if embedding is not None and embedding.size(1) == architecture.hidden and embedding.size(0) != vocab_size:
        raise RequestError(
            f"{where}: the checkpoint's vocabulary has {embedding.size(0):,} ids, the spec's tokenizer has "
            f"{vocab_size:,}; use the tokenizer that the checkpoint was trained with"
        )
    if found != total:
        raise RequestError(
            f"{where}: the checkpoint has {found:,} parameters, the proxy has {total:,}; they are different models"
        )
    for name, shape in expected.items():
        if name not in weights or tuple(weights[name].shape) != shape:
            state = f"has shape {tuple(weights[name].shape)}" if name in weights else "is missing"
            raise RequestError(f"{where}: {name} {state}; the proxy's has shape {shape}")
        if weights[name].dtype not in DTYPES:
            dtype = str(weights[name].dtype).removeprefix("torch.")
            raise RequestError(
                f"{where}: {name} is in {dtype}; a proxy can start from float32, bfloat16 and float16 only"
            )


def shapes_of(architecture: Architecture, vocab_size: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight of a proxy, by name."""
    hidden, ffn = architecture.hidden, architecture.ffn
    queries = architecture.heads * architecture.head_dim
    layer = {
        "input_layernorm.weight": (hidden,),
        "self_attention.linear_qkv.weight": (queries + 2 * architecture.kv_heads * architecture.head_dim, hidden),
        "self_attention.linear_proj.weight": (hidden, queries),
        "pre_mlp_layernorm.weight": (hidden,),
        "mlp.linear_fc1.weight": (2 * ffn, hidden),
        "mlp.linear_fc2.weight": (hidden, ffn),
    }
    layers = {
        f"decoder.layers.{number}.{name}": shape
        for number in range(architecture.layers)
        for name, shape in layer.items()
    }
    return {EMBEDDING: (vocab_size, hidden), **layers, FINAL_NORM: (hidden,)}


def _one_by_one(tensors: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    """Split tensors that are stacked over layers, and over the one expert of each layer."""
    found = []
    for given, tensor in tensors.items():
        name = given
        while name.startswith(_PREFIXES):
            name = name.partition(".")[2]
        stacked = _STACKED.match(name)
        if stacked is None:
            found.append((name, tensor))
            continue
        for number, layer in enumerate(tensor):
            is_expert = ".experts.experts." in name and layer.dim() == 3 and layer.size(0) == 1
            found.append((f"decoder.layers.{number}.{stacked[1]}", layer[0] if is_expert else layer))
    return found


def name_in_model(name: str, where: str) -> str | None:
    """Return this package's name of one weight; empty if it has no effect, None if it is unknown.

    Raises:
        RequestError: for a weight of a second expert; `where` names the checkpoint.
    """
    layer = _LAYER.match(name)
    if layer is None:
        return _WHOLE.get(name)
    prefix, suffix = f"decoder.layers.{layer[1]}", layer[2]
    ffn = _FFN.match(suffix)
    if ffn is None:
        return "" if _ROUTER.match(suffix) else f"{prefix}.{_OF_LAYER[suffix]}" if suffix in _OF_LAYER else None
    if int(ffn[1] or 0) > 0:
        raise RequestError(f"{where}: {name} belongs to a second expert; a proxy can start from one expert only")
    renamed = {"gate_proj": "gate", "up_proj": "up", "down_proj": "mlp.linear_fc2.weight"}
    return f"{prefix}.{renamed.get(ffn[2], f'mlp.{ffn[2]}.weight')}"


def _untie(weights: Weights, where: str) -> None:
    """Drop an output layer that equals the embedding; refuse any other."""
    head = weights.pop("output_layer.weight", None)
    embedding = weights.get(EMBEDDING)
    if head is not None and (embedding is None or not torch.equal(head, embedding)):
        raise RequestError(
            f"{where}: the output layer differs from the embedding; proxies tie the two, so they cannot start from it"
        )
