"""A stand-in for the package transformer_engine on machines without CUDA: torch's arithmetic under its names.

It has what Megatron Core 0.16.1 names when it is imported beside Transformer Engine 2.9, and of the four classes that
our layers are built from the constructors and forward arguments of Transformer Engine 2.9.0, so that Megatron's own
classes for them, our layers on top of those, the sharing of weights and the proof run for real. Weights are cast
under autocast as there, and the modules have an `_extra_state`.

What it cannot show: that Transformer Engine's kernels run at all, what they compute, how fast they are, which of its
attention backends is taken, and what its classes do that is not needed here (FP8, parallel ranks, zero-centered
gains); those arguments are taken and, where they would change the result, refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__version__ = "2.9.0"


def normed(states: Tensor, gain: Tensor, epsilon: float) -> Tensor:
    """RMSNorm over the last dimension; sums in float32, as the kernels do. Tests put wrong ones in its place."""
    wide = states.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
    return (wide * scale * gain.float()).to(states.dtype)


def attended(queries: Tensor, keys: Tensor, values: Tensor, scale: float | None) -> Tensor:
    """Causal attention of [batch, heads, sequence, head_dim]. Tests put wrong ones in its place."""
    return functional.scaled_dot_product_attention(
        queries, keys, values, is_causal=True, scale=scale, enable_gqa=queries.size(1) != keys.size(1)
    )


def _cast(states: Tensor) -> Tensor:
    kind = states.device.type
    return states.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else states


class _Base(torch.nn.Module):
    """What Transformer Engine's modules share: states of FP8 beside the weights, empty here."""

    def get_extra_state(self) -> Tensor:
        return torch.empty(0, dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        assert state.numel() == 0


class Linear(_Base):
    """A matrix."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        sequence_parallel: bool = False,
        fuse_wgrad_accumulation: bool = False,
        tp_group: object = None,
        tp_size: int = 1,
        get_rng_state_tracker: Callable[[], object] | None = None,
        rng_tracker_name: str | None = None,
        init_method: Callable[[Tensor], object] | None = None,
        bias: bool = True,
        return_bias: bool = False,
        params_dtype: torch.dtype | None = None,
        parallel_mode: str | None = None,
        parameters_split: object = None,
        device: torch.device | str = "cuda",
        ub_overlap_ag: bool = False,
        ub_overlap_rs: bool = False,
        ub_overlap_rs_dgrad: bool = False,
        ub_bulk_dgrad: bool = False,
        ub_bulk_wgrad: bool = False,
        ub_name: str | None = None,
        delay_wgrad_compute: bool = False,
        symmetric_ar_type: str | None = None,
        save_original_input: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__()
        assert not (bias or return_bias or sequence_parallel or fuse_wgrad_accumulation or parameters_split)
        self.weight = torch.nn.Parameter(torch.empty(out_features, in_features, device=device, dtype=params_dtype))
        assert init_method is not None
        init_method(self.weight)

    def forward(
        self, inp: Tensor, is_first_microbatch: bool | None = None, fp8_output: bool = False, fp8_grad: bool = False
    ) -> Tensor:
        """[..., out_features] of [..., in_features]."""
        states = _cast(inp)
        return functional.linear(states, self.weight.to(states.dtype))


class LayerNormLinear(_Base):
    """A norm and the matrix behind it."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        eps: float = 1e-5,
        sequence_parallel: bool = False,
        fuse_wgrad_accumulation: bool = False,
        tp_group: object = None,
        tp_size: int = 1,
        get_rng_state_tracker: Callable[[], object] | None = None,
        init_method: Callable[[Tensor], object] | None = None,
        bias: bool = True,
        normalization: str = "LayerNorm",
        return_bias: bool = False,
        params_dtype: torch.dtype | None = None,
        parallel_mode: str | None = None,
        return_layernorm_output: bool = False,
        return_layernorm_output_gathered: bool = False,
        parameters_split: object = None,
        zero_centered_gamma: bool = False,
        device: torch.device | str = "cuda",
        ub_overlap_ag: bool = False,
        ub_overlap_rs: bool = False,
        ub_overlap_rs_dgrad: bool = False,
        ub_bulk_wgrad: bool = False,
        ub_bulk_dgrad: bool = False,
        ub_name: str | None = None,
        delay_wgrad_compute: bool = False,
        symmetric_ar_type: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        assert normalization == "RMSNorm" and not (bias or return_bias or zero_centered_gamma)
        assert not (sequence_parallel or fuse_wgrad_accumulation or parameters_split or return_layernorm_output)
        self.eps = eps
        self.layer_norm_weight = torch.nn.Parameter(torch.ones(in_features, device=device, dtype=params_dtype))
        self.weight = torch.nn.Parameter(torch.empty(out_features, in_features, device=device, dtype=params_dtype))
        assert init_method is not None
        init_method(self.weight)

    def forward(
        self, inp: Tensor, is_first_microbatch: bool | None = None, fp8_output: bool = False, fp8_grad: bool = False
    ) -> Tensor:
        """[..., out_features] of [..., in_features]."""
        states = _cast(inp)
        states = normed(states, self.layer_norm_weight.to(states.dtype), self.eps)
        return functional.linear(states, self.weight.to(states.dtype))


class RMSNorm(torch.nn.Module):
    """A norm."""

    def __init__(
        self,
        normalized_shape: int | None = None,
        eps: float = 1e-5,
        sequence_parallel: bool | None = None,
        params_dtype: torch.dtype | None = None,
        zero_centered_gamma: bool = False,
        hidden_size: int | None = None,
        *,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        assert not zero_centered_gamma
        size = hidden_size if normalized_shape is None else normalized_shape
        assert size is not None
        self.eps = eps
        self.weight = torch.nn.Parameter(torch.ones(size, device=device, dtype=params_dtype))

    def forward(self, states: Tensor) -> Tensor:
        """Normed states, [..., hidden]."""
        states = _cast(states)
        return normed(states, self.weight.to(states.dtype), self.eps)


class DotProductAttention(_Base):
    """Causal attention in the layout [sequence, batch, heads, head_dim]."""

    def __init__(
        self,
        num_attention_heads: int,
        kv_channels: int | tuple[int, int],
        num_gqa_groups: int | None = None,
        attention_dropout: float = 0.0,
        qkv_format: str = "sbhd",
        attn_mask_type: str = "causal",
        window_size: tuple[int, int] | None = None,
        sequence_parallel: bool = False,
        tp_size: int = 1,
        get_rng_state_tracker: Callable[[], object] | None = None,
        tp_group: object = None,
        layer_number: int | None = None,
        attention_type: str = "self",
        cp_group: object = None,
        cp_global_ranks: list[int] | None = None,
        cp_stream: object = None,
        cp_comm_type: str = "p2p",
        softmax_scale: float | None = None,
        softmax_type: str = "vanilla",
        return_max_logit: bool | None = False,
    ) -> None:
        super().__init__()
        assert (qkv_format, attn_mask_type, softmax_type) == ("sbhd", "causal", "vanilla") and not attention_dropout
        self._heads, self._groups, self._scale = num_attention_heads, num_gqa_groups, softmax_scale

    def forward(
        self,
        query_layer: Tensor,
        key_layer: Tensor,
        value_layer: Tensor,
        attention_mask: Tensor | None = None,
        qkv_format: str | None = None,
        *,
        attn_mask_type: str | None = None,
        **others: Any,  # noqa: ANN401  of packed sequences and inference
    ) -> Tensor:
        """[sequence, batch, heads × head_dim]."""
        assert attention_mask is None and attn_mask_type == "causal" and not others
        assert query_layer.size(2) == self._heads and key_layer.size(2) == value_layer.size(2) == self._groups
        queries, keys, values = (part.permute(1, 2, 0, 3) for part in (query_layer, key_layer, value_layer))
        return attended(queries, keys, values, self._scale).permute(2, 0, 1, 3).flatten(2)


class Unused:
    """Stands where Megatron names a class that is never made here."""


def _module(name: str, **content: object) -> ModuleType:
    """Enter a module below this one, as an attribute of the one above it as well."""
    full = f"{__name__}.{name}"
    made = ModuleType(full)
    made.__dict__.update(content)
    above, _, leaf = full.rpartition(".")
    setattr(sys.modules[above], leaf, made)
    sys.modules[full] = made
    return made


__path__: list[str] = []  # a package, as far as imports of what is below go
_module("common")
_module("common.recipe", DelayedScaling=Unused)
_module(
    "pytorch",
    Linear=Linear,
    LayerNormLinear=LayerNormLinear,
    RMSNorm=RMSNorm,
    DotProductAttention=DotProductAttention,
    GroupedLinear=Unused,
)
_module("pytorch.ops", Sequential=Unused, FusibleOperation=Unused)
_module("pytorch.distributed", CudaRNGStatesTracker=Unused, activation_recompute_forward=None)
_module("pytorch.fp8", FP8GlobalStateManager=Unused, fp8_autocast=Unused)
_module("pytorch.tensor", QuantizedTensor=Unused)
_module(
    "pytorch.router",
    fused_compute_score_for_moe_aux_loss=None,
    fused_moe_aux_loss=None,
    fused_topk_with_score_function=None,
)
