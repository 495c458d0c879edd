"""Losses without whole logits are Megatron's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from megatron.core.models.gpt import GPTModel

from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.distributed import process_group
from mixproof.train.model.model import build_model
from mixproof.train.model.token_losses import token_losses


@pytest.fixture
def model() -> Iterator[GPTModel]:
    """A proxy of two layers with a vocabulary of 500."""
    shape = Architecture(layers=2, hidden=32, ffn=48, heads=4, kv_heads=2, head_dim=8)
    with process_group("cpu") as ranks:
        yield build_model(
            shape, vocab_size=500, sequence_length=64, rope_base=10000, seed=1, device=ranks.device
        ).eval()


def test_the_losses_of_counted_labels_are_those_of_megatron(model: GPTModel) -> None:
    tokens, labels = torch.randint(0, 500, (2, 5, 64), generator=torch.Generator().manual_seed(1))
    positions = torch.arange(64).expand(5, -1)
    counts = torch.arange(64) < torch.tensor([64, 1, 17, 50, 64])[:, None]
    with torch.inference_mode():
        ours = token_losses(model, tokens, positions, labels, counts)
        megatrons = model(tokens, positions, None, labels=labels)
    assert ours.shape == (196,)
    torch.testing.assert_close(ours, megatrons[counts], rtol=1e-5, atol=1e-6)


def test_the_model_gives_logits_again_afterwards_also_when_scoring_fails(model: GPTModel) -> None:
    tokens = torch.zeros((1, 4), dtype=torch.int64)
    counts = tokens == 0
    with pytest.raises(IndexError):
        token_losses(model, tokens + 500, tokens, tokens, counts)
    assert model(tokens, tokens, None, runtime_gather_output=True).shape == (1, 4, 500)
