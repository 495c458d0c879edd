"""What a checkpoint's own arguments say: how many tokens are behind it, and whether its model computes as a proxy does.

The names are those of Megatron-LM's `args`. Weights of another arithmetic have the same names and shapes: with another
base of the rotary positions, or norms whose gains are stored less one, they load and train on from nowhere.
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
"""What each argument is where a checkpoint has it; arguments that it lacks are taken to be these."""


def prior_tokens(arguments: object, where: str) -> int:
    """Tokens that a checkpoint was trained on: consumed samples times sequence length, and what was before them.

    Raises:
        RequestError: when it does not say.
    """
    samples = getattr(arguments, "consumed_train_samples", None)
    length = getattr(arguments, "seq_length", None)
    if not isinstance(samples, int) or not isinstance(length, int):
        raise RequestError(
            f"{where}: it does not say what it was trained on (args.consumed_train_samples and args.seq_length), so "
            "its tokens cannot enter the account; save it again with both"
        )
    return samples * length + int(getattr(arguments, "prior_tokens", 0) or 0)


def check_arguments(arguments: object, rope_base: int, where: str) -> None:
    """Check that a checkpoint's model computes as a proxy with this base of the rotary positions.

    Raises:
        RequestError: naming every argument that differs.
    """
    found = getattr(arguments, "rotary_base", rope_base)
    if found != rope_base:
        raise RequestError(
            f"{where}: its rotary positions have the base {found}, the spec's {rope_base}; "
            f"set `train.rope_base: {found}`"
        )
    others = {name: getattr(arguments, name, expected) for name, expected in OF_A_PROXY.items()}
    wrong = [f"{name} {value!r}" for name, value in others.items() if value != OF_A_PROXY[name]]
    if wrong:
        raise RequestError(f"{where}: no proxy computes like this: {', '.join(wrong)}")
