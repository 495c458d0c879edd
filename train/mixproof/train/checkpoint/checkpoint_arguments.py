"""Check a checkpoint's arguments (Megatron-LM's `args`): its tokens, and whether its model computes like a proxy.

Models that compute differently can have the same weight names and shapes: with another rotary base, layers without
rotary positions, another gate, another number of heads of another size, or norms that store their gain minus one. Such
weights load without an error, and the model's outputs are wrong. So every argument must be known: it has the value of
a proxy (`OF_A_PROXY`, and the shape), or it does not change what the weights compute (`harmless_arguments.txt`). An
unknown argument is refused unless its value is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.model.model import NORM_EPSILON

OFF = (None, False)
NONE = (None, 0)
OF_A_PROXY: dict[str, tuple[object, ...]] = {
    # positions
    "position_embedding_type": ("rope",),
    "rotary_percent": (1.0,),
    "rotary_interleaved": OFF,
    "rotary_seq_len_interpolation_factor": (None, 1),
    "use_rope_scaling": OFF,
    "rope_type": (None, "rope"),
    "mrope_section": (None,),
    "no_rope_freq": (None,),
    # norms and residuals
    "normalization": ("RMSNorm",),
    "norm_epsilon": (NORM_EPSILON,),
    "layernorm_epsilon": (NORM_EPSILON,),
    "apply_layernorm_1p": OFF,
    "layernorm_zero_centered_gamma": OFF,
    "apply_residual_connection_post_layernorm": OFF,
    "enable_mhc_connections": OFF,
    # feed-forward layers
    "swiglu": (True,),
    "gated_linear_unit": (True,),
    "squared_relu": OFF,
    "quick_geglu": OFF,
    "openai_gelu": OFF,
    "activation_func": (None,),
    "glu_linear_offset": (None, 0.0),
    "activation_func_clamp_value": (None,),
    "add_bias_linear": OFF,
    # attention
    "qk_layernorm": OFF,
    "qk_l2_norm": OFF,
    "export_qk_l2_norm": OFF,
    "add_qkv_bias": OFF,
    "softmax_scale": (None,),
    "softmax_type": (None, "vanilla"),
    "window_size": (None,),
    "window_attn_skip_freq": (None,),
    "attention_output_gate": OFF,
    "multi_latent_attention": OFF,
    "experimental_attention_variant": (None,),
    "linear_attention_freq": (None,),
    # one expert at most, which gets all tokens with the weight 1
    "num_experts": (None, 1),
    "num_moe_experts": (None, 1),
    "moe_layer_freq": (None, 1),
    "moe_router_score_function": (None, "softmax"),
    "moe_router_topk_scaling_factor": (None, 1.0),
    "moe_router_enable_expert_bias": OFF,
    "moe_router_force_load_balancing": OFF,
    "moe_router_force_biased": (None,),
    "moe_input_jitter_eps": (None,),
    "moe_expert_capacity_factor": (None,),
    "moe_expert_rank_capacity_factor": (None,),
    "moe_token_dropping": OFF,
    "moe_shared_expert_intermediate_size": (None,),
    "moe_shared_expert_gate": OFF,
    "moe_shared_expert_glu_interleave_size": (None,),
    "moe_mlp_glu_interleave_size": (None,),
    "moe_latent_size": (None,),
    "normalize_router_logits": OFF,
    # other models
    "spec": (None,),
    "is_hybrid_model": OFF,
    "hybrid_layer_pattern": (None,),
    "hybrid_override_pattern": (None,),
    "hybrid_attention_ratio": NONE,
    "hybrid_mlp_ratio": NONE,
    "heterogeneous_block_specs": OFF,
    "heterogeneous_layers_config_path": (None,),
    "heterogeneous_layers_config_encoded_json": (None, ""),
    "mtp_num_layers": NONE,
    "mtp_hybrid_override_pattern": (None,),
    "retro_add_retriever": OFF,
    "flextron": OFF,
    "enable_gpt_oss": OFF,
    "export_num_medusa_heads": NONE,
    "export_num_eagle_layers": NONE,
    "export_num_mtp": NONE,
    "use_mup": OFF,
    "mup_embedding_mult": (None, 1.0),
    "mup_output_mult": (None, 1.0),
    # quantized matrix products
    "fp8": OFF,
    "fp4": OFF,
    "quant_recipe": (None,),
    "use_kitchen": OFF,
    "use_kitchen_attention": OFF,
    "kitchen_config_file": (None,),
    "kitchen_recipe_number": (None,),
    "te_precision_config_file": (None,),
    "modelopt_enabled": OFF,
    "export_quant_cfg": (None, "None"),
    "export_real_quant_cfg": (None, "None"),
    "export_kv_cache_quant": (None, False, "none"),
}
"""The values of each argument that a proxy can start from; a missing argument counts as having one of them."""
SHAPE = {
    "num_layers": "layers",
    "hidden_size": "hidden",
    "ffn_hidden_size": "ffn",
    "num_attention_heads": "heads",
    "num_query_groups": "kv_heads",
    "kv_channels": "head_dim",
}
"""Arguments that the shape of a proxy has under another name."""
CHECKED_ELSEWHERE = frozenset({*SHAPE, "rotary_base", "group_query_attention"})


def prior_tokens(arguments: object, where: str) -> int:
    """Return the tokens that a checkpoint was trained on: its own prior tokens + consumed samples × sequence length.

    Raises:
        RequestError: when it does not say.
    """
    samples = getattr(arguments, "consumed_train_samples", None)
    length = getattr(arguments, "seq_length", None)
    before = getattr(arguments, "prior_tokens", 0) or 0
    if not all(type(number) is int and number >= 0 for number in (samples, length, before)):
        raise RequestError(
            f"{where}: args.consumed_train_samples or args.seq_length is missing or not a whole number, so the tokens "
            "that the checkpoint was trained on cannot be accounted for; save it again with both"
        )
    assert isinstance(samples, int) and isinstance(length, int) and isinstance(before, int)
    return samples * length + before


def check_arguments(arguments: object, rope_base: int | None, where: str) -> None:
    """Check that a checkpoint's model computes like a proxy with this rotary base, or with any if it is None.

    Raises:
        RequestError: naming every argument that differs, or that is not known.
    """
    found: Any = getattr(arguments, "rotary_base", rope_base)
    if rope_base is not None and found != rope_base:
        raise RequestError(
            f"{where}: the checkpoint has a rotary base of {found}, the spec of {rope_base}; "
            + (f"set `train.rope_base: {int(found)}`" if _is_whole(found) else "a proxy's is a whole number")
            + ", or train with another base on purpose: `init_from: {change_rope_base: true, ...}`"
        )
    stated = {} if arguments is None else vars(arguments)
    wrong = [
        f"{name} {stated[name]!r}"
        for name in OF_A_PROXY
        if name in stated and not is_one_of(stated[name], OF_A_PROXY[name])
    ]
    if wrong:
        raise RequestError(
            f"{where}: the checkpoint's model computes differently from a proxy: {', '.join(wrong)}; a proxy cannot "
            "start from it"
        )
    known = OF_A_PROXY.keys() | CHECKED_ELSEWHERE | harmless_arguments()
    unknown = [f"{name} {value!r}" for name, value in stated.items() if name not in known and value is not None]
    if unknown:
        raise RequestError(
            f"{where}: mixproof does not know whether the checkpoint's model computes like a proxy with the arguments "
            f"{', '.join(unknown[:8])}; if none of them changes what the model computes, save the checkpoint again "
            "without them"
        )


def check_heads(arguments: object, architecture: Architecture, where: str) -> None:
    """Check the arguments that state a shape; heads of another size can have the same weights.

    Raises:
        RequestError: naming every argument that differs from the proxy's shape.
    """
    stated = {} if arguments is None else dict(vars(arguments))
    if not stated.get("group_query_attention", True):  # then Megatron-LM ignores the number of query groups
        stated["num_query_groups"] = stated.get("num_attention_heads")
    wrong = [
        f"{name} {stated[name]!r} (the proxy has {getattr(architecture, ours)})"
        for name, ours in SHAPE.items()
        if stated.get(name) is not None and stated[name] != getattr(architecture, ours)
    ]
    if wrong:
        raise RequestError(f"{where}: the checkpoint's model has another shape: {', '.join(wrong)}")


@cache
def harmless_arguments() -> frozenset[str]:
    """Read the names of arguments that do not change what a model computes."""
    lines = Path(__file__).with_name("harmless_arguments.txt").read_text().splitlines()
    return frozenset(name for line in lines if not line.startswith("#") for name in line.split())


def is_one_of(value: object, allowed: Sequence[object]) -> bool:
    """Whether a value is one of those allowed; False is not 0, and 1 is 1.0."""
    if value is not None and not isinstance(value, (bool, int, float, str, list, dict)):
        return False  # tensors and objects of classes that are not loaded
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed)


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, float)) and float(value).is_integer()
