"""The model: its attention and rotary positions against plain arithmetic, its weights by seed."""

from __future__ import annotations

import math

import pytest
import torch
from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding

from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.distributed import Ranks
from mixproof.train.model.attention import DeviceRotaryEmbedding, SdpaCoreAttention
from mixproof.train.model.model import build_model, model_config
from weight_digest import weights_sha256

SHAPE = Architecture(layers=2, hidden=32, ffn=64, heads=4, kv_heads=2, head_dim=8)


def model_of(seed: int, ranks: Ranks) -> torch.nn.Module:
    model: torch.nn.Module = build_model(
        SHAPE, vocab_size=50, sequence_length=16, rope_base=10_000, seed=seed, device=ranks.device
    )
    return model


def test_attention_is_causal_softmax_over_shared_keys(ranks: Ranks) -> None:
    attention = SdpaCoreAttention(model_config(SHAPE), 1, None, "self")
    generator = torch.Generator().manual_seed(3)
    queries = torch.randn(2, 4, 6, 8, generator=generator)
    keys, values = (torch.randn(2, 2, 6, 8, generator=generator) for _ in range(2))
    out = attention(queries, keys, values)
    for batch in range(2):
        for head in range(4):
            shared = head // 2  # heads 0 and 1 share the first keys and values
            scores = queries[batch, head] @ keys[batch, shared].T / math.sqrt(8)
            scores = scores.masked_fill(torch.ones(6, 6).triu(1).bool(), -math.inf)
            expected = scores.softmax(dim=-1) @ values[batch, shared]
            torch.testing.assert_close(out[batch, head], expected, rtol=1e-5, atol=1e-6)


def test_rotary_angles_turn_by_position_times_frequency() -> None:
    rotary = DeviceRotaryEmbedding(kv_channels=4, rotary_base=100, device=torch.device("cpu"))
    # frequencies 1 and 100^(-1/2) = 0.1; both halves alike
    angles = torch.tensor([[k * f for f in (1.0, 0.1, 1.0, 0.1)] for k in range(3)])
    torch.testing.assert_close(rotary(3)[:, :, 0, 0, 0], torch.stack([angles.cos(), angles.sin()]))
    with rotary.at_positions(torch.tensor([[0, 1, 2], [5, 5, 2]])):
        turned = rotary(3)[:, :, :, 0, 0]
    torch.testing.assert_close(turned[:, :, 0], torch.stack([angles.cos(), angles.sin()]))
    torch.testing.assert_close(turned[0, 2, 1], angles[2].cos())
    assert turned[0, 0, 1, 0] == pytest.approx(math.cos(5))
    assert isinstance(rotary, RotaryEmbedding)


def test_a_token_is_predicted_from_those_before_it_only(ranks: Ranks) -> None:
    model = model_of(1, ranks).eval()
    tokens = torch.arange(16)[None] % 50
    changed = tokens.clone()
    changed[0, 9] = 49
    positions = torch.arange(16)[None]
    with torch.no_grad():
        before = model(tokens, positions, None, runtime_gather_output=True)
        after = model(changed, positions, None, runtime_gather_output=True)
    assert before.shape == (1, 16, 50)
    assert torch.equal(before[0, :9], after[0, :9])
    assert not torch.equal(before[0, 9:], after[0, 9:])


def test_scoring_before_training_leaves_training_possible(ranks: Ranks) -> None:
    model = model_of(1, ranks)
    tokens, positions = torch.arange(17)[None], torch.arange(16)[None]
    with torch.inference_mode():
        model(tokens[:, :-1], positions, None, labels=tokens[:, 1:])
    model(tokens[:, :-1], positions, None, labels=tokens[:, 1:]).mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_weights_follow_the_seed_and_nothing_else(ranks: Ranks) -> None:
    first = weights_sha256(model_of(1, ranks))
    torch.rand(7)
    assert weights_sha256(model_of(1, ranks)) == first
    assert weights_sha256(model_of(2, ranks)) != first
