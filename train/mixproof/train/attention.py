"""Attention and rotary positions for Megatron Core that run on CPU and CUDA alike.

Megatron's local attention keeps the whole score matrix and its softmax asks for CUDA; its rotary embedding
moves its frequencies to the current CUDA device. Both are replaced at the places Megatron provides for it
(the layer spec and the model's attribute), nothing is patched.
"""

from __future__ import annotations

import torch
from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor
from torch.nn import functional


class SdpaCoreAttention(MegatronModule):  # type: ignore[misc]  # megatron-core has no types
    """Causal grouped-query attention by torch's scaled_dot_product_attention, without dropout.

    Takes the constructor arguments of Megatron's DotProductAttention, so that a layer spec can name it.
    """

    def __init__(
        self,
        config: TransformerConfig,
        layer_number: int,
        attn_mask_type: object,
        attention_type: str,
        attention_dropout: float | None = None,
        softmax_scale: float | None = None,
        cp_comm_type: str | None = None,
        pg_collection: object | None = None,
    ) -> None:
        super().__init__(config=config)
        assert config.context_parallel_size == 1 and not (attention_dropout or config.attention_dropout)
        self.softmax_scale = softmax_scale

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        attn_mask_type: object | None = None,
        attention_bias: Tensor | None = None,
        packed_seq_params: object | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            query: [sequence, batch, heads, head_dim]; `key` and `value` [sequence, batch, kv_heads, head_dim].
            key: see `query`.
            value: see `query`.
            attention_mask: None; a position sees itself and everything before it in its window.
            attn_mask_type: Megatron's word for that; causal is the only one here.
            attention_bias: not used by these models.
            packed_seq_params: not used by these models.

        Returns:
            [sequence, batch, heads × head_dim].

        """
        assert attention_mask is None and attention_bias is None and packed_seq_params is None
        queries, keys, values = (tensor.permute(1, 2, 0, 3) for tensor in (query, key, value))
        out = functional.scaled_dot_product_attention(
            queries,
            keys,
            values,
            is_causal=True,
            scale=self.softmax_scale,
            enable_gqa=queries.size(1) != keys.size(1),
        )
        return out.permute(2, 0, 1, 3).reshape(query.size(0), query.size(1), -1)


class DeviceRotaryEmbedding(RotaryEmbedding):  # type: ignore[misc]  # megatron-core has no types
    """Megatron's rotary embedding, with frequencies that stay on the device they were put on."""

    def __init__(self, *, kv_channels: int, rotary_base: int, device: torch.device) -> None:
        super().__init__(
            kv_channels=kv_channels, rotary_percent=1.0, rotary_base=rotary_base, use_cpu_initialization=True
        )
        self.inv_freq: Tensor = self.inv_freq.to(device)

    def get_emb(self, max_seq_len: int, offset: int = 0) -> Tensor:
        """Angles [max_seq_len, 1, 1, kv_channels], both halves alike (not interleaved)."""
        with torch.inference_mode(False), torch.no_grad():  # Megatron caches them: training may follow evaluation
            angles: Tensor = self.get_freqs_non_repeated(max_seq_len, offset)
            return torch.cat((angles, angles), dim=-1)[:, None, None, :]
