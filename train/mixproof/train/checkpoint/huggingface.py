"""Convert a proxy to Hugging Face's LlamaForCausalLM and back: the same numbers under different names.

Megatron keeps queries, keys and values in one matrix by query group: rows [q_1 .. q_r, k, v] of head_dim each. Its
`linear_fc1` is [gate; up]. Both rotate the two halves of a head against each other, so nothing is permuted, and the
logits agree to the last bit or nearly so. Embeddings are tied, so no `lm_head` is written. Transformers 5 reads the
rotary base from `rope_parameters`.

A folder is read only if its configuration is that of a plain Llama model (`huggingface_config.py`) and every tensor is
known: scaled rotary positions, quantized weights with scales, biases and more layers are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.model.weight_names import DTYPES

from .huggingface_config import check_config, read_config, rope_base_of, shape_of
from .initial_files import CONFIG

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
FACTS = "mixproof.json"
"""Beside an exported model: its run, and the tokens that it was trained on."""
FREQUENCIES = "self_attn.rotary_emb.inv_freq"
"""Rotary frequencies that early versions of transformers saved in each layer."""

Weights = dict[str, Tensor]

_PLAIN = {
    "embedding.word_embeddings.weight": "model.embed_tokens.weight",
    "decoder.final_layernorm.weight": "model.norm.weight",
}
_PLAIN_OF_LAYER = {
    "input_layernorm.weight": "input_layernorm.weight",
    "self_attention.linear_proj.weight": "self_attn.o_proj.weight",
    "pre_mlp_layernorm.weight": "post_attention_layernorm.weight",
    "mlp.linear_fc2.weight": "mlp.down_proj.weight",
}
_QKV = "self_attention.linear_qkv.weight"
_FC1 = "mlp.linear_fc1.weight"


@dataclass(frozen=True)
class LlamaModel:
    """A model read from a Hugging Face folder, with Megatron's names."""

    architecture: Architecture
    vocab_size: int
    sequence_length: int
    """Longest window the model supports."""
    rope_base: int
    weights: Weights
    """Float32, by the names of `GPTModel.named_parameters()`."""


def to_huggingface(weights: Mapping[str, Tensor], architecture: Architecture) -> Weights:
    """Rename and split Megatron's weights into Llama's."""
    made = {theirs: weights[ours] for ours, theirs in _PLAIN.items()}
    for number in range(architecture.layers):
        ours, theirs = f"decoder.layers.{number}.", f"model.layers.{number}."
        made |= {theirs + llama: weights[ours + megatron] for megatron, llama in _PLAIN_OF_LAYER.items()}
        queries, keys, values = _split_qkv(weights[ours + _QKV], architecture)
        gate, up = weights[ours + _FC1].chunk(2)
        made |= {
            f"{theirs}self_attn.q_proj.weight": queries,
            f"{theirs}self_attn.k_proj.weight": keys,
            f"{theirs}self_attn.v_proj.weight": values,
            f"{theirs}mlp.gate_proj.weight": gate,
            f"{theirs}mlp.up_proj.weight": up,
        }
    return {name: tensor.clone().contiguous() for name, tensor in made.items()}


def from_huggingface(tensors: Mapping[str, Tensor], architecture: Architecture) -> Weights:
    """Rename and join Llama's weights into Megatron's; the reverse of `to_huggingface`, bit for bit.

    Raises:
        KeyError: when a weight is missing.
    """
    made = {ours: tensors[theirs] for ours, theirs in _PLAIN.items()}
    for number in range(architecture.layers):
        ours, theirs = f"decoder.layers.{number}.", f"model.layers.{number}."
        made |= {ours + megatron: tensors[theirs + llama] for megatron, llama in _PLAIN_OF_LAYER.items()}
        queries, keys, values = (tensors[f"{theirs}self_attn.{name}_proj.weight"] for name in "qkv")
        made[ours + _QKV] = _join_qkv(queries, keys, values, architecture)
        made[ours + _FC1] = torch.cat([tensors[f"{theirs}mlp.{name}_proj.weight"] for name in ("gate", "up")])
    return {name: tensor.float().clone().contiguous() for name, tensor in made.items()}


def read_llama(folder: Path) -> LlamaModel:
    """Read a LlamaForCausalLM folder as a proxy.

    Raises:
        RequestError: when there is no such model, or it is not known to compute like a proxy.
        DamagedFileError: when a weight is missing or its shape differs from the configuration.
    """
    config = read_config(folder)
    check_config(folder, config)
    architecture, rope_base = shape_of(folder, config), rope_base_of(folder, config)
    tensors = _read_tensors(folder)
    _check_tensors(folder, tensors, architecture, rope_base)
    _check_tied(folder, config, tensors)
    try:
        weights = from_huggingface(tensors, architecture)
    except (KeyError, RuntimeError) as error:
        reason = f"the weights do not have the shape in {CONFIG}: {error}"
        raise DamagedFileError(str(folder), WEIGHTS, reason) from None
    _check_shapes(folder, weights, architecture, config["vocab_size"])
    return LlamaModel(
        architecture=architecture,
        vocab_size=config["vocab_size"],
        sequence_length=config["max_position_embeddings"],
        rope_base=rope_base,
        weights=weights,
    )


def _split_qkv(joined: Tensor, architecture: Architecture) -> tuple[Tensor, Tensor, Tensor]:
    """Split [(heads + 2 kv_heads) × head_dim, hidden], by query group, into queries, keys and values."""
    groups, hidden = architecture.kv_heads, architecture.hidden
    queries = architecture.heads // groups
    rows = joined.view(groups, queries + 2, architecture.head_dim, hidden)
    parts = rows[:, :queries], rows[:, queries], rows[:, queries + 1]
    return parts[0].reshape(-1, hidden), parts[1].reshape(-1, hidden), parts[2].reshape(-1, hidden)


def _join_qkv(queries: Tensor, keys: Tensor, values: Tensor, architecture: Architecture) -> Tensor:
    groups, head_dim, hidden = architecture.kv_heads, architecture.head_dim, architecture.hidden
    parts = [part.view(groups, -1, head_dim, hidden) for part in (queries, keys, values)]
    return torch.cat(parts, dim=1).reshape(-1, hidden)


def _read_tensors(folder: Path) -> Weights:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors: Weights = {}
    names = _weight_files(folder)
    for name in names:
        try:
            tensors |= load_file(folder / name)
        except FileNotFoundError:
            raise RequestError(
                f"{folder / name}: no such file; weights are read from safetensors only, never from pickles"
            ) from None
        except SafetensorError as error:
            raise DamagedFileError(str(folder / name), "whole file", str(error)) from None
    return tensors


def _weight_files(folder: Path) -> list[str]:
    """List the safetensors files of a model; they must be in its folder, whose checksums identify it."""
    index = folder / WEIGHTS_INDEX
    if not index.is_file():
        return [WEIGHTS]
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(str(index), "whole file", f"not an index of safetensors: {error!r}") from None
    if outside := [name for name in names if not isinstance(name, str) or Path(name).name != name]:
        raise RequestError(f"{index}: names {outside[0]!r}, which is not a file in the model's folder")
    return names


def _check_tensors(folder: Path, tensors: Weights, architecture: Architecture, rope_base: int) -> None:
    """Refuse tensors that no proxy has, dtypes with scales, and other rotary frequencies; drop equal ones."""
    for number in range(architecture.layers):
        _check_frequencies(folder, tensors.pop(f"model.layers.{number}.{FREQUENCIES}", None), architecture, rope_base)
    known = {*_llama_names(architecture), "lm_head.weight"}
    if unknown := sorted(tensors.keys() - known):
        raise RequestError(
            f"{folder}: the model has {len(unknown)} tensors that no proxy has, such as {', '.join(unknown[:3])}; it "
            "is a different model, so a proxy cannot start from it"
        )
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values() if tensor.dtype not in DTYPES}
    if dtypes:
        raise RequestError(
            f"{folder}: the model has weights in {', '.join(sorted(dtypes))}; a proxy can start from float32, bfloat16 "
            "and float16 only"
        )


def _check_frequencies(folder: Path, found: Tensor | None, architecture: Architecture, rope_base: int) -> None:
    """Refuse saved rotary frequencies that are not those of the base."""
    if found is None:
        return
    exponents = torch.arange(0, architecture.head_dim, 2, dtype=torch.float32) / architecture.head_dim
    frequencies = 1.0 / rope_base**exponents
    rounding = 4 * torch.finfo(found.dtype).eps if found.is_floating_point() else 0.0
    if found.shape != frequencies.shape or not torch.allclose(found.float(), frequencies, rtol=rounding, atol=1e-7):
        raise RequestError(f"{folder}: the saved rotary frequencies are not those of base {rope_base}")


def _llama_names(architecture: Architecture) -> list[str]:
    """List the names of a tied Llama model's weights."""
    parts = [*_PLAIN_OF_LAYER.values(), *(f"self_attn.{name}_proj.weight" for name in "qkv")]
    parts += [f"mlp.{name}_proj.weight" for name in ("gate", "up")]
    layers = [f"model.layers.{number}.{part}" for number in range(architecture.layers) for part in parts]
    return [*_PLAIN.values(), *layers]


def _check_tied(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    head = tensors.get("lm_head.weight")
    embedding = tensors.get("model.embed_tokens.weight")
    if head is None and not config.get("tie_word_embeddings"):
        raise RequestError(
            f"{folder}: {CONFIG} does not tie the output layer to the embedding, and there is no lm_head.weight"
        )
    if head is not None and embedding is not None and not torch.equal(head, embedding):
        raise RequestError(
            f"{folder}: the output layer differs from the embedding; proxies tie the two, so they cannot start from it"
        )


def _check_shapes(folder: Path, weights: Weights, architecture: Architecture, vocab_size: int) -> None:
    hidden, ffn = architecture.hidden, architecture.ffn
    queries = architecture.heads * architecture.head_dim
    expected = {
        "embedding.word_embeddings.weight": (vocab_size, hidden),
        _QKV: (queries + 2 * architecture.kv_heads * architecture.head_dim, hidden),
        "self_attention.linear_proj.weight": (hidden, queries),
        _FC1: (2 * ffn, hidden),
        "mlp.linear_fc2.weight": (hidden, ffn),
    }
    for name, tensor in weights.items():
        shape = next((shape for end, shape in expected.items() if name.endswith(end)), (hidden,))
        if tuple(tensor.shape) != shape:
            found = f"{name} has shape {tuple(tensor.shape)}, {CONFIG} says {shape}"
            raise DamagedFileError(str(folder), WEIGHTS, found)
