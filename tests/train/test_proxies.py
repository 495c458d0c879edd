"""The proxies' weights, counted by hand, by arithmetic, and in the built models."""

from __future__ import annotations

import pytest
import torch

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.train import Architecture, Proxy
from mixproof.train.distributed import process_group
from mixproof.train.model.model import build_model
from mixproof.train.proxies import (
    PROXIES,
    Parameters,
    activation_bytes,
    architecture_of,
    count_parameters,
    flops_per_token,
    memory_of,
)

CONTRACT = {"62m": 62_644_608, "350m": 345_355_200, "nano": 3_625_024}
SMALL = Architecture(layers=2, hidden=4, ffn=3, heads=2, kv_heads=1, head_dim=2)


def recipe(architecture: Architecture | None = None) -> Proxy:
    return Proxy.model_validate(
        {"tokens": 1000, "global_batch_size": 1, "lr": "0.001", "min_lr": "0.0001", "architecture": architecture}
    )


@pytest.mark.parametrize("name", CONTRACT)
def test_the_contract_holds_in_arithmetic_and_in_the_built_model(name: str) -> None:
    assert count_parameters(PROXIES[name], 32_000).total == CONTRACT[name]
    with process_group("cpu"):
        model = build_model(
            PROXIES[name], vocab_size=32_000, sequence_length=64, rope_base=10_000, seed=1, device=torch.device("meta")
        )
    assert sum(parameter.numel() for parameter in model.parameters()) == CONTRACT[name]
    biases = [key for key, _ in model.named_parameters() if key.endswith("bias")]
    assert biases == []


def test_weights_and_operations_of_a_shape_counted_by_hand() -> None:
    # a layer: queries 4x4, keys and values 4x2 each, projection 4x4, gate, up and down 4x3 each, two norms of 4
    layer = 16 + 8 + 8 + 16 + 12 + 12 + 12
    assert count_parameters(SMALL, 10) == Parameters(total=40 + 2 * (layer + 8) + 4, non_embedding=2 * (layer + 8) + 4)
    # 6 a weight of each matrix and of the output layer; attention: 2 layers x 2 heads x 2 wide over 100 tokens
    assert flops_per_token(SMALL, 10, 100) == 6 * (2 * layer + 40) + 6 * 2 * 2 * 2 * 100


def test_memory_of_a_shape_counted_by_hand() -> None:
    # a layer in float32: 4 x 4 around norms and matrices, 3 x 4 of queries, 2 x 2 of keys and values, 3 x 3 of the FFN
    layer = 4 * (16 + 12 + 4 + 9)
    assert activation_bytes(SMALL, 4) == 2 * layer
    assert activation_bytes(SMALL, 2) == layer
    memory = memory_of(SMALL, 10, 100, micro_batch_size=3, activation_width=4)
    weights = count_parameters(SMALL, 10).total
    assert (memory.weights, memory.gradients, memory.optimizer) == (4 * weights, 4 * weights, 8 * weights)
    assert memory.activations == 300 * 2 * layer + 300 * 4 * 10  # logits of all 300 tokens
    larger = memory_of(SMALL, 10, 100, micro_batch_size=6, activation_width=4)
    assert larger.activations == 600 * 2 * layer + 512 * 4 * 10
    assert memory.training == 16 * weights + memory.activations
    assert memory.checkpoint == 12 * weights


def test_an_inline_shape_goes_before_the_shipped_one_of_its_name() -> None:
    assert architecture_of("62m", recipe()) == PROXIES["62m"]
    assert architecture_of("62m", recipe(SMALL)) == SMALL
    assert architecture_of("mine", recipe(SMALL)) == SMALL


def test_a_name_without_a_shape_is_refused() -> None:
    with pytest.raises(RequestError, match=r"proxies\.mine: this is not a shipped proxy \(62m, 350m, nano\)"):
        architecture_of("mine", recipe())


@pytest.mark.parametrize(
    ("change", "message"),
    [({"kv_heads": 3}, r"heads \(2\) must be a multiple of kv_heads \(3\)"), ({"head_dim": 5}, "odd")],
)
def test_a_shape_that_cannot_be_built_is_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        architecture_of("mine", recipe(SMALL.model_copy(update=change)))
