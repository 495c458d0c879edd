"""Check a checkpoint's arguments (Megatron-LM's `args`): its tokens, and whether its model computes like a proxy.

Models that compute differently can have the same weight names and shapes. With another rotary base, or norms that store
their gain minus one, the weights load without an error and the model's outputs are wrong.
"""

from __future__ import annotations

from mixproof.ledger.errors import RequestError
from mixproof.train.model.model import NORM_EPSILON

OF_A_PROXY: dict[str, object] = {
    "position_embedding_type": "rope",
    "rotary_percent": 1.0,
    "rotary_interleaved": False,
    "rotary_seq_len_interpolation_factor": None,
    "use_rope_scaling": False,
    "normalization": "RMSNorm",
    "norm_epsilon": NORM_EPSILON,
    "layernorm_epsilon": NORM_EPSILON,
    "apply_layernorm_1p": False,
    "qk_layernorm": False,
    "swiglu": True,
    "squared_relu": False,
    "add_bias_linear": False,
    "add_qkv_bias": False,
    "window_size": None,
}
"""The required value of each argument; a missing argument counts as having it."""


def prior_tokens(arguments: object, where: str) -> int:
    """Return the tokens that a checkpoint was trained on: its own prior tokens + consumed samples × sequence length.

    Raises:
        RequestError: when it does not say.
    """
    samples = getattr(arguments, "consumed_train_samples", None)
    length = getattr(arguments, "seq_length", None)
    if not isinstance(samples, int) or not isinstance(length, int):
        raise RequestError(
            f"{where}: args.consumed_train_samples or args.seq_length is missing, so the tokens that the checkpoint "
            "was trained on cannot be accounted for; save it again with both"
        )
    return samples * length + int(getattr(arguments, "prior_tokens", 0) or 0)


def check_arguments(arguments: object, rope_base: int, where: str) -> None:
    """Check that a checkpoint's model computes like a proxy with this rotary base.

    Raises:
        RequestError: naming every argument that differs.
    """
    found = getattr(arguments, "rotary_base", rope_base)
    if found != rope_base:
        raise RequestError(
            f"{where}: the checkpoint has a rotary base of {found}, the spec of {rope_base}; "
            f"set `train.rope_base: {found}`"
        )
    others = {name: getattr(arguments, name, expected) for name, expected in OF_A_PROXY.items()}
    wrong = [f"{name} {value!r}" for name, value in others.items() if value != OF_A_PROXY[name]]
    if wrong:
        raise RequestError(
            f"{where}: the checkpoint's model computes differently from a proxy: {', '.join(wrong)}; a proxy cannot "
            "start from it"
        )
