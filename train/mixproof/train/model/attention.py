"""Attention and rotary positions for Megatron Core that run on CPU and CUDA.

Megatron's local attention keeps the whole score matrix, and its softmax needs CUDA. Its rotary embedding moves the
frequencies to the current CUDA device, and every layer recomputes their cosines and sines. Both are replaced through
Megatron's own extension points (the layer spec and the model's attribute); nothing is patched.

Under a document mask a token sees only its own document. Megatron would take a mask [batch, 1, S, S]. Here each token
carries one number, the index in the window where its document starts. From it the CPU attends document by document,
which is less work the shorter the documents are, and CUDA builds the mask of a micro batch.

Rotary positions are indices in the window unless `at_positions` sets others. Megatron passes its position ids to
learned position embeddings only, so resetting them would not change rotary positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding
from megatron.core.transformer.attention import SelfAttention
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor
from torch.nn import functional

from .layer_math import PLAIN, LayerMath, rotated


class ProxySelfAttention(SelfAttention):  # type: ignore[misc]  # megatron-core has no types
    """Megatron's self-attention and its weights, without its code for inference and other models."""

    math: LayerMath = PLAIN
    """Used in training; scoring is always plain."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None,
        *,
        rotary_pos_emb: Tensor,
        **_others: object,
    ) -> tuple[Tensor, None]:
        """Attend.

        Args:
            hidden_states: [sequence, batch, hidden].
            attention_mask: [batch, sequence] index of the first token that each token sees, from `document_starts`;
                None: a token sees itself and all tokens before it in its window.
            rotary_pos_emb: cosines and sines from `DeviceRotaryEmbedding`.
            _others: arguments that Megatron's layer passes for other models.

        Returns:
            [sequence, batch, hidden], and no bias.
        """
        mixed, _ = self.linear_qkv(hidden_states)
        grouped = mixed.unflatten(-1, (self.num_query_groups_per_partition, -1, self.hidden_size_per_attention_head))
        parts = rotated(grouped, rotary_pos_emb, self.math if self.training else PLAIN)
        context = self.core_attention(*parts, attention_mask)
        out, bias = self.linear_proj(context.permute(2, 0, 1, 3).flatten(2))
        return out, bias


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

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, starts: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            queries: [batch, heads, sequence, head_dim]; `keys` and `values` [batch, kv_heads, sequence, head_dim].
            keys: see `queries`.
            values: see `queries`.
            starts: [batch, sequence] from `document_starts`; None: a token sees all tokens before it.

        Returns:
            [batch, heads, sequence, head_dim].
        """
        if starts is None:
            return self._attend(queries, keys, values)
        if queries.device.type == "cpu":
            return self._attend_by_documents(queries, keys, values, starts)
        return self._attend_by_mask(queries, keys, values, starts)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Causal attention of [batch, heads, sequence, head_dim]."""
        if queries.device.type == "cuda" and queries.dtype == torch.float32:
            # flash attention takes no float32, and the next kernel took no grouped queries in torch's older versions:
            # they would keep all scores
            keys, values = _one_per_query_head(queries, keys, values)
        grouped = queries.size(1) != keys.size(1)
        return functional.scaled_dot_product_attention(
            queries, keys, values, is_causal=True, scale=self.softmax_scale, enable_gqa=grouped
        )

    def _attend_by_documents(self, queries: Tensor, keys: Tensor, values: Tensor, starts: Tensor) -> Tensor:
        """Causal attention within each document."""
        rows = []
        for row, lengths in enumerate(_lengths(starts)):
            pieces = zip(
                *(torch.split(part[row : row + 1], lengths, dim=2) for part in (queries, keys, values)), strict=True
            )
            rows.append(torch.cat([self._attend(*piece) for piece in pieces], dim=2))
        return torch.cat(rows)

    def _attend_by_mask(self, queries: Tensor, keys: Tensor, values: Tensor, starts: Tensor) -> Tensor:
        """The same with a mask; keys are repeated because CUDA's kernels take a mask or grouped queries, not both."""
        index = torch.arange(queries.size(2), device=queries.device)
        visible = (index <= index[:, None]) & (index >= starts[:, None, :, None])
        keys, values = _one_per_query_head(queries, keys, values)
        return functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=visible, scale=self.softmax_scale
        )


def _one_per_query_head(queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat keys and values [batch, kv_heads, sequence, head_dim] for each head of the queries."""
    queries_per_key = queries.size(1) // keys.size(1)
    return keys.repeat_interleave(queries_per_key, 1), values.repeat_interleave(queries_per_key, 1)


def document_starts(tokens: Tensor, eod_id: int) -> Tensor:
    """Index in the window where each token's document starts; an EOD is the last token of its document.

    Args:
        tokens: [batch, sequence] ids.
        eod_id: id of the end-of-document token.

    Returns:
        [batch, sequence] int64; all zero in a window without an EOD before its last token.
    """
    index = torch.arange(tokens.size(1), device=tokens.device).expand_as(tokens)
    after_eod = torch.roll(tokens == eod_id, 1, dims=1)
    return index.where(after_eod & (index > 0), 0).cummax(1).values


def _lengths(starts: Tensor) -> list[list[int]]:
    """Length in tokens of each document in each window."""
    size = starts.size(1)
    first = starts == torch.arange(size, device=starts.device)
    begins: list[list[int]] = [row.nonzero()[:, 0].tolist() for row in first]
    return [[end - begin for begin, end in zip(row, [*row[1:], size], strict=True)] for row in begins]


class DeviceRotaryEmbedding(RotaryEmbedding):  # type: ignore[misc]  # megatron-core has no types
    """Megatron's rotary embedding with frequencies that stay on their device.

    Returns cosines and sines instead of angles, which are then computed once per forward pass, not once per layer.
    """

    def __init__(self, *, kv_channels: int, rotary_base: int, device: torch.device) -> None:
        super().__init__(
            kv_channels=kv_channels, rotary_percent=1.0, rotary_base=rotary_base, use_cpu_initialization=True
        )
        self.inv_freq: Tensor = self.inv_freq.to(device)
        self._positions: Tensor | None = None

    def use_base(self, rotary_base: int) -> None:
        """Rotate by the frequencies of another base from now on."""
        channels, device = 2 * self.inv_freq.numel(), self.inv_freq.device
        self.inv_freq = DeviceRotaryEmbedding(kv_channels=channels, rotary_base=rotary_base, device=device).inv_freq

    @contextmanager
    def at_positions(self, positions: Tensor | None) -> Iterator[None]:
        """Use these positions [batch, sequence] inside the context; None: the indices in the window."""
        self._positions = positions
        try:
            yield
        finally:
            self._positions = None

    def forward(self, max_seq_len: int, **_options: object) -> Tensor:
        """Cosines and sines [2, max_seq_len, 1 or batch, 1, 1, kv_channels]; both halves equal (not interleaved)."""
        positions = self._positions
        if positions is None:
            positions = torch.arange(max_seq_len, device=self.inv_freq.device)[None]
        angles = positions.T[..., None].to(self.inv_freq.dtype) * self.inv_freq
        both = torch.cat((angles, angles), dim=-1)[:, :, None, None, :]
        return torch.stack((both.cos(), both.sin()))
