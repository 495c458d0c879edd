"""Transformer Engine's layers over the weights of a model: another backend for the same parameters.

A norm and the matrix after it are one kernel; the final norm and the other matrices are Transformer Engine's as well,
through Megatron Core's classes. Gate and rotation stay this package's, and so does attention under a document mask,
which Transformer Engine's attention does not support here. The parameters are shared objects, not copies. The optimizer
steps, checkpoints, scores and exports the model itself, so names, shapes and bytes do not depend on the backend, and
nothing of Transformer Engine (`_extra_state`) gets into them.

Import this module only if Transformer Engine is installed: its classes derive from Transformer Engine's.
"""

from __future__ import annotations

import copy
import os

from megatron.core.extensions.transformer_engine import (
    TEDotProductAttention,
    TELayerNormColumnParallelLinear,
    TENorm,
    TERowParallelLinear,
)
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_with_transformer_engine_spec
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.mlp import MLPSubmodules
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules
from torch import Tensor

from .attention import ProxySelfAttention, SdpaCoreAttention
from .model import ProxyMlp, assemble
from .weight_names import name_in_model


class EngineMlp(ProxyMlp):
    """The feed-forward layer with norm and first matrix in one kernel."""

    matrices = MLPSubmodules(linear_fc1=TELayerNormColumnParallelLinear, linear_fc2=TERowParallelLinear)


class EngineCoreAttention(TEDotProductAttention):  # type: ignore[misc]  # megatron-core has no types
    """Transformer Engine's causal attention with the interface of `SdpaCoreAttention`."""

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, starts: None) -> Tensor:
        """Attend; shapes as in `SdpaCoreAttention`, inside Transformer Engine [sequence, batch, heads, head_dim]."""
        assert starts is None, "a document mask needs SdpaCoreAttention"
        permuted = (part.permute(2, 0, 1, 3).contiguous() for part in (queries, keys, values))
        context: Tensor = super().forward(*permuted, None, AttnMaskType.causal)
        return context.view(*context.shape[:2], queries.size(1), -1).permute(1, 2, 0, 3)


def engine_model(model: GPTModel, *, own_attention: bool) -> GPTModel:
    """Build Transformer Engine's layers over the weights of `model`, on their device; draws no random numbers.

    Args:
        model: from `model.build_model`.
        own_attention: use torch's SDPA, as the plain layers do; a document mask needs it.
    """
    # Transformer Engine's fallback keeps all scores of a head in memory: make it raise instead
    os.environ.setdefault("NVTE_UNFUSED_ATTN", "0")
    config = copy.copy(model.config)
    config.perform_initialization = False
    engine = assemble(
        config,
        _block(config.num_layers, own_attention),
        vocab_size=model.vocab_size,
        sequence_length=model.max_sequence_length,
        rope_base=model.rotary_base,
    )
    engine.rotary_pos_emb = model.rotary_pos_emb
    _share_weights(engine, model)
    return engine


def _block(layers: int, own_attention: bool) -> TransformerBlockSubmodules:
    """Megatron's layers for Transformer Engine with this package's rotation and gate."""
    spec = get_gpt_layer_with_transformer_engine_spec()
    attention = spec.submodules.self_attention
    attention.module = ProxySelfAttention
    attention.submodules.core_attention = SdpaCoreAttention if own_attention else EngineCoreAttention
    spec.submodules.mlp = EngineMlp
    return TransformerBlockSubmodules(layer_specs=[spec] * layers, layer_norm=TENorm)


def _share_weights(engine: GPTModel, model: GPTModel) -> None:
    """Replace each parameter of `engine` by the one of `model`; every one of them is used once."""
    unused = dict(model.named_parameters())
    for name, parameter in list(engine.named_parameters()):
        shared = unused.pop(name_in_model(name, "Transformer Engine's layers") or "", None)
        assert shared is not None and shared.shape == parameter.shape, f"unknown weight of Transformer Engine: {name}"
        module, _, leaf = name.rpartition(".")
        setattr(engine.get_submodule(module), leaf, shared)
    assert not unused, f"Transformer Engine lacks the weights {', '.join(unused)}"
