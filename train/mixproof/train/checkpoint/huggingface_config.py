"""`config.json` of Hugging Face's LlamaForCausalLM: write it, read it, and refuse models that compute differently.

A configuration is accepted only if every key is known: it has the value of a proxy (`OF_A_PROXY`), it states the shape
or the rotary base, or it does not change what the model computes (`HARMLESS`). An unknown key is refused unless it is
null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.model.model import INIT_STD, NORM_EPSILON

from .checkpoint_arguments import is_one_of
from .initial_files import CONFIG

ARCHITECTURE = "LlamaForCausalLM"
NEEDED = (
    *("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size"),
    "max_position_embeddings",
)
"""Keys of `config.json` that the shape needs."""
OF_A_PROXY: dict[str, tuple[object, ...]] = {
    "architectures": ([ARCHITECTURE], None),
    "model_type": ("llama",),
    "hidden_act": ("silu",),
    "rms_norm_eps": (NORM_EPSILON,),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "pretraining_tp": (1, None),
    "partial_rotary_factor": (1.0, None),
    "rope_interleaved": (False, None),
    "rope_interleave": (False, None),
    "is_decoder": (False, True),  # changes nothing in LlamaForCausalLM
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "cross_attention_hidden_size": (None,),
    "pruned_heads": ({}, None),
    "chunk_size_feed_forward": (0,),
    "tie_encoder_decoder": (False,),
}
"""The values of keys of `config.json` that a proxy can start from."""
DEFAULTS = {"hidden_act": "silu", "rms_norm_eps": 1e-6}
"""Values of transformers' LlamaConfig for required keys that a `config.json` lacks."""
CHECKED_ELSEWHERE = frozenset(
    {*NEEDED, "num_key_value_heads", "head_dim", "rope_theta", "rope_scaling", "rope_parameters", "tie_word_embeddings"}
)
HARMLESS = frozenset(
    {
        # what loads and trains the model
        *("_attn_implementation", "_attn_implementation_autoset", "_name_or_path", "attention_dropout"),
        *("attn_implementation", "base_model_tp_plan", "dtype", "initializer_range", "name_or_path", "torch_dtype"),
        *("torchscript", "transformers_version", "use_bfloat16", "use_cache"),
        # token ids, labels and output forms
        *("bos_token_id", "bad_words_ids", "begin_suppress_tokens", "decoder_start_token_id", "eos_token_id"),
        *("finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "id2label", "label2id", "num_labels"),
        *("output_attentions", "output_hidden_states", "output_scores", "pad_token_id", "prefix", "problem_type"),
        *("remove_invalid_values", "return_dict", "return_dict_in_generate", "sep_token_id", "suppress_tokens"),
        *("task_specific_params", "tokenizer_class", "unk_token_id", "tf_legacy_loss"),
        # generation
        *("diversity_penalty", "do_sample", "early_stopping", "encoder_no_repeat_ngram_size"),
        *("exponential_decay_length_penalty", "length_penalty", "max_length", "min_length", "no_repeat_ngram_size"),
        *("num_beam_groups", "num_beams", "num_return_sequences", "repetition_penalty", "temperature", "top_k"),
        *("top_p", "typical_p"),
    }
)
"""Keys of `config.json` that do not change what the model computes from its weights."""
DEFAULT_ROPE_BASE = 10_000
"""Rotary base of transformers' LlamaConfig if a `config.json` states none."""
PLAIN_ROPE = {"rope_type": "default", "type": "default", "partial_rotary_factor": 1.0}
"""The options of rotary positions that are not scaled."""


def llama_config(
    architecture: Architecture,
    *,
    vocab_size: int,
    sequence_length: int,
    rope_base: int,
    eod_id: int,
    bos_id: int | None = None,
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
        "bos_token_id": eod_id if bos_id is None else bos_id,
        "eos_token_id": eod_id,
        "pad_token_id": None,
        "use_cache": True,
    }


def read_config(folder: Path) -> dict[str, Any]:
    """Read the configuration of a model folder.

    Raises:
        RequestError: when there is none, or keys of the shape are missing.
        DamagedFileError: when it is not JSON.
    """
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


def shape_of(folder: Path, config: Mapping[str, Any]) -> Architecture:
    """Return the shape of a model; `folder` is for errors.

    Raises:
        RequestError: when a size is not a whole number, or sizes do not divide evenly.
    """
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    sizes = {name: config[name] for name in NEEDED}
    optional = {"num_key_value_heads": heads, "head_dim": None}
    sizes |= {name: default if config.get(name) is None else config[name] for name, default in optional.items()}
    wrong = [
        f"{name} {size!r}" for name, size in sizes.items() if not _is_size(size) and (name, size) != ("head_dim", None)
    ]
    if wrong:
        raise RequestError(f"{folder / CONFIG}: {', '.join(wrong)}; sizes must be whole numbers of at least 1")
    kv_heads, head_dim = sizes["num_key_value_heads"], sizes["head_dim"]
    if heads % kv_heads or (head_dim is None and hidden % heads):
        raise RequestError(
            f"{folder / CONFIG}: hidden_size {hidden}, num_attention_heads {heads} and num_key_value_heads {kv_heads} "
            "do not divide evenly"
        )
    try:
        return Architecture(
            layers=sizes["num_hidden_layers"],
            hidden=hidden,
            ffn=sizes["intermediate_size"],
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim or hidden // heads,
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise RequestError(f"{folder / CONFIG}: {first['loc'][0]}: {first['msg']}") from None


def rope_base_of(folder: Path, config: Mapping[str, Any]) -> int:
    """Return the rotary base of a model, in transformers' current or older spelling; `folder` is for errors.

    Raises:
        RequestError: when its rotary positions are scaled, or the base is not one whole number.
    """
    bases = [] if config.get("rope_theta") is None else [config["rope_theta"]]
    for name in ("rope_parameters", "rope_scaling"):
        rope = config.get(name)
        options = dict(rope) if isinstance(rope, dict) else {} if rope is None else {name: rope}
        if (base := options.pop("rope_theta", None)) is not None:
            bases.append(base)
        if any(value is not None and PLAIN_ROPE.get(key) != value for key, value in options.items()):
            raise RequestError(
                f"{folder / CONFIG}: {name} {json.dumps(rope)}: the rotary positions are not plain ones, as a proxy's "
                "are, so a proxy cannot start from this model"
            )
    base = bases[0] if bases else DEFAULT_ROPE_BASE
    if any(other != base for other in bases) or not _is_size(int(base) if _is_whole(base) else base):
        stated = ", ".join(map(str, bases))
        raise RequestError(f"{folder / CONFIG}: the rotary base is {stated}; a proxy's is one whole number")
    return int(base)


def _is_whole(value: object) -> bool:
    return isinstance(value, float) and value.is_integer()


def _is_size(value: object) -> bool:
    return type(value) is int and value >= 1


def check_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse every key of a configuration that is not known to leave a model that computes like a proxy."""
    stated = {**DEFAULTS, **config}
    wrong = [
        f"{name} {stated[name]!r}"
        for name in OF_A_PROXY
        if name in stated and not is_one_of(stated[name], OF_A_PROXY[name])
    ]
    if wrong:
        raise RequestError(
            f"{folder / CONFIG}: no proxy has this: {', '.join(wrong)}; proxies are Llama models with SiLU, no biases, "
            f"plain rotary positions and a norm epsilon of {NORM_EPSILON} (transformers' default is 1e-06)"
        )
    known = OF_A_PROXY.keys() | CHECKED_ELSEWHERE | HARMLESS
    unknown = [f"{name} {json.dumps(value)[:60]}" for name, value in config.items() if name not in known]
    unknown = [name for name in unknown if not name.endswith(" null")]
    if unknown:
        raise RequestError(
            f"{folder / CONFIG}: mixproof does not know whether a model with {', '.join(unknown[:4])} computes like a "
            "proxy; if none of these keys changes what the model computes, remove them from the file"
        )
