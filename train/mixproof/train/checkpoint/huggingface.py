"""Convert a proxy to Hugging Face's LlamaForCausalLM and back: the same numbers under different names.

Megatron keeps queries, keys and values in one matrix by query group: rows [q_1 .. q_r, k, v] of head_dim each. Its
`linear_fc1` is [gate; up]. Both rotate the two halves of a head against each other, so nothing is permuted, and the
logits agree to the last bit or nearly so. Embeddings are tied, so no `lm_head` is written. Transformers 5 reads the
rotary base from `rope_parameters`.
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
from mixproof.mixtures.train_spec import Architecture
from mixproof.train.model.model import INIT_STD, NORM_EPSILON

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
FACTS = "mixproof.json"
"""Beside an exported model: its run, and the tokens that it was trained on."""
ARCHITECTURE = "LlamaForCausalLM"
NEEDED = (
    *("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size"),
    "max_position_embeddings",
)
"""Keys of `config.json` that the shape needs."""

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


def llama_config(
    architecture: Architecture, *, vocab_size: int, sequence_length: int, rope_base: int, eod_id: int
) -> dict[str, Any]:
    """Return the contents of `config.json`.

    Training and evaluation start and end every text with an EOD, so it is both `bos` and `eos`.
    """
    return {
        "architectures": [ARCHITECTURE],
        "model_type": "llama",
        "dtype": "float32",
        "vocab_size": vocab_size,
        "hidden_size": architecture.hidden,
        "intermediate_size": architecture.ffn,
        "num_hidden_layers": architecture.layers,
        "num_attention_heads": architecture.heads,
        "num_key_value_heads": architecture.kv_heads,
        "head_dim": architecture.head_dim,
        "max_position_embeddings": sequence_length,
        "rope_parameters": {"rope_type": "default", "rope_theta": float(rope_base)},
        "rms_norm_eps": NORM_EPSILON,
        "initializer_range": INIT_STD,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": eod_id,
        "eos_token_id": eod_id,
        "pad_token_id": None,
        "use_cache": True,
    }


def read_llama(folder: Path) -> LlamaModel:
    """Read a LlamaForCausalLM folder as a proxy.

    Raises:
        RequestError: when there is no such model, or it has a feature that proxies lack.
        DamagedFileError: when a weight is missing or its shape differs from the configuration.
    """
    config = _read_config(folder)
    _check_config(folder, config)
    heads = config["num_attention_heads"]
    architecture = Architecture(
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        ffn=config["intermediate_size"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
    )
    tensors = _read_tensors(folder)
    _check_tied(folder, tensors)
    try:
        weights = from_huggingface(tensors, architecture)
    except (KeyError, RuntimeError) as error:
        raise DamagedFileError(
            str(folder), WEIGHTS, f"the weights do not have the shape in {CONFIG}: {error}"
        ) from None
    _check_shapes(folder, weights, architecture, config["vocab_size"])
    return LlamaModel(
        architecture=architecture,
        vocab_size=config["vocab_size"],
        sequence_length=config["max_position_embeddings"],
        rope_base=_rope_base(config),
        weights=weights,
    )


def rope_base_of(folder: Path) -> int:
    """Return the rotary base of a Hugging Face model, in transformers' current or older spelling."""
    return _rope_base(_read_config(folder))


def _rope_base(config: Mapping[str, Any]) -> int:
    return int((config.get("rope_parameters") or {}).get("rope_theta") or config.get("rope_theta", 10000))


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


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except FileNotFoundError:
        raise RequestError(f"{folder}: no {CONFIG}, so this is not a Hugging Face model") from None
    except ValueError as error:
        raise DamagedFileError(str(folder / CONFIG), "whole file", f"not valid JSON: {error}") from None
    missing = [name for name in NEEDED if not (isinstance(config, dict) and name in config)]
    if missing:
        raise RequestError(f"{folder / CONFIG}: {', '.join(missing)} missing, so this is not a Llama model")
    assert isinstance(config, dict)
    return config


def _read_tensors(folder: Path) -> Weights:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    index = folder / WEIGHTS_INDEX
    names = sorted(set(json.loads(index.read_bytes())["weight_map"].values())) if index.is_file() else [WEIGHTS]
    tensors: Weights = {}
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


def _check_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse what a proxy cannot be."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    wrong = {
        "model_type": config.get("model_type") != "llama",
        "hidden_act": config.get("hidden_act", "silu") != "silu",
        "attention_bias": bool(config.get("attention_bias")),
        "mlp_bias": bool(config.get("mlp_bias")),
        "rms_norm_eps": config.get("rms_norm_eps", NORM_EPSILON) != NORM_EPSILON,
        "rope_parameters": rope.get("rope_type", "default") != "default",
    }
    names = [f"{name} {config.get(name)!r}" for name, is_wrong in wrong.items() if is_wrong]
    if names:
        raise RequestError(
            f"{folder / CONFIG}: no proxy has this: {', '.join(names)}; proxies are Llama models with SiLU, no biases, "
            f"plain rotary positions and an epsilon of {NORM_EPSILON}"
        )


def _check_tied(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    head = tensors.get("lm_head.weight")
    embedding = tensors.get("model.embed_tokens.weight")
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
