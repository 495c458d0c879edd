"""Transformer Engine's layers over the very weights of a model: another way through the same parameters.

Norm and the matrix behind it are one kernel, the final norm and the other matrices are Transformer Engine's as well, by
Megatron Core's own classes for them. Gate and rotation stay those of our layers, and so does attention under a document
mask, for which Transformer Engine has no form of its own here. The parameters are not copied but shared, object by
object: what is saved, scored, exported and stepped by the optimizer is the model itself, so that names, shapes and
bytes are the same whatever a run trains through, and nothing of Transformer Engine's own (`_extra_state`) gets there.

Import this module only where Transformer Engine is installed: its classes derive from Transformer Engine's.
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
from .weight_names import place_of


class EngineMlp(ProxyMlp):
    """Our feed-forward layer, with norm and first matrix in one."""

    matrices = MLPSubmodules(linear_fc1=TELayerNormColumnParallelLinear, linear_fc2=TERowParallelLinear)


class EngineCoreAttention(TEDotProductAttention):  # type: ignore[misc]  # megatron-core has no types
    """Transformer Engine's causal attention in the place of `SdpaCoreAttention`."""

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, starts: None) -> Tensor:
        """Attend; shapes as in `SdpaCoreAttention`, in Transformer Engine [sequence, batch, heads, head_dim]."""
        assert starts is None, "under a document mask attention is SdpaCoreAttention"
        turned = (part.permute(2, 0, 1, 3).contiguous() for part in (queries, keys, values))
        context: Tensor = super().forward(*turned, None, AttnMaskType.causal)
        return context.view(*context.shape[:2], queries.size(1), -1).permute(1, 2, 0, 3)


def engine_model(model: GPTModel, *, own_attention: bool) -> GPTModel:
    """Transformer Engine's layers over the weights of `model`, where those lie; draws no random numbers.

    Args:
        model: by `model.build_model`.
        own_attention: attend by torch's SDPA as our layers do, which a document mask needs.
    """
    # its fallback keeps all scores of a head in memory: rather no such attention than that one unawares
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
    """Megatron's own layers for Transformer Engine, with rotation and gate of ours."""
    spec = get_gpt_layer_with_transformer_engine_spec()
    attention = spec.submodules.self_attention
    attention.module = ProxySelfAttention
    attention.submodules.core_attention = SdpaCoreAttention if own_attention else EngineCoreAttention
    spec.submodules.mlp = EngineMlp
    return TransformerBlockSubmodules(layer_specs=[spec] * layers, layer_norm=TENorm)


def _share_weights(engine: GPTModel, model: GPTModel) -> None:
    """Put the parameters of `model` in the places of those of `engine`, each of them in one."""
    left = dict(model.named_parameters())
    for name, parameter in list(engine.named_parameters()):
        mine = left.pop(place_of(name, "Transformer Engine's layers") or "", None)
        assert mine is not None and mine.shape == parameter.shape, f"Transformer Engine has another weight, {name}"
        module, _, leaf = name.rpartition(".")
        setattr(engine.get_submodule(module), leaf, mine)
    assert not left, f"Transformer Engine lacks the weights {', '.join(left)}"
