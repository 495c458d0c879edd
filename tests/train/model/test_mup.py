"""Maximal update parametrization: scaled weights and rates, and what they do to activations as the width grows."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.distributed import Ranks
from mixproof.train.model.model import build_model
from mixproof.train.model.mup import scale_initial_weights, scaled_groups
from mixproof.train.model.optimizer import EPSILON, build_optimizer, parameters_of

BASE, WIDE = 16, 256
STEPS = 4


def shape(hidden: int) -> Architecture:
    return Architecture(layers=2, hidden=hidden, ffn=2 * hidden, heads=hidden // 8, kv_heads=hidden // 8, head_dim=8)


def model_of(hidden: int, ranks: Ranks, width: float, output: float = 1.0) -> torch.nn.Module:
    model: torch.nn.Module = build_model(
        shape(hidden), vocab_size=32, sequence_length=16, rope_base=10_000, seed=1, device=ranks.device
    )
    scale_initial_weights(model, width, output)
    return model


def logits_of(model: torch.nn.Module) -> torch.Tensor:
    tokens = (torch.arange(4 * 16).reshape(4, 16) * 7) % 32
    out: torch.Tensor = model(tokens, torch.arange(16)[None].expand(4, 16), None, runtime_gather_output=True)
    return out


def logit_change(hidden: int, ranks: Ranks, *, mup: bool, output: float = 1.0) -> float:
    """Root mean square of how far a few steps at one rate move the logits."""
    width = hidden / BASE if mup else 1.0
    model = model_of(hidden, ranks, width, output)
    optimizer = build_optimizer(model, lr=0.01, betas=(0.9, 0.95), width=width, output=output)
    for group in optimizer.param_groups:  # as the scheduler does
        group["lr"] = group.get("max_lr", 0.01)
    labels = (torch.arange(4 * 16).reshape(4, 16) * 11) % 32
    before = logits_of(model).detach()
    for _ in range(STEPS):
        torch.autograd.backward(functional.cross_entropy(logits_of(model).flatten(0, 1), labels.flatten()))
        optimizer.step()
        optimizer.zero_grad()
    return float((logits_of(model).detach() - before).square().mean().sqrt())


def test_the_coordinates_move_as_far_at_every_width_with_mup_and_farther_without(ranks: Ranks) -> None:
    base = logit_change(BASE, ranks, mup=True)
    assert 0.5 < logit_change(WIDE, ranks, mup=True) / base < 2
    assert logit_change(WIDE, ranks, mup=False) / base > 4
    raised = logit_change(BASE, ranks, mup=True, output=4)
    assert raised > 2 * base and 0.5 < logit_change(WIDE, ranks, mup=True, output=4) / raised < 2


def test_logits_are_divided_by_the_width_and_other_weights_by_its_root(ranks: Ranks) -> None:
    plain, scaled = (dict(model_of(32, ranks, width).named_parameters()) for width in (1.0, 4.0))
    for name, weight in plain.items():
        factor = (
            0.25 if name == "decoder.final_layernorm.weight" else 0.5 if "linear" in name and weight.dim() > 1 else 1
        )
        torch.testing.assert_close(scaled[name], weight * factor, msg=name)
    assert set(scaled["decoder.final_layernorm.weight"].tolist()) == {0.25}


def test_groups_have_the_order_of_the_plain_ones_with_rates_and_epsilons_of_the_width(ranks: Ranks) -> None:
    model = model_of(32, ranks, 4.0)
    optimizer = build_optimizer(model, lr=0.01, betas=(0.9, 0.95), min_lr=0.001, width=4.0)
    order = parameters_of(build_optimizer(model, lr=0.01, betas=(0.9, 0.95)))
    assert [id(weight) for weight in parameters_of(optimizer)] == [id(weight) for weight in order]
    embedding, matrices, gains, final = scaled_groups(model, 4.0, (0.01, 0.001), EPSILON)
    assert (matrices["max_lr"], matrices["min_lr"], matrices["eps"]) == pytest.approx((0.0025, 0.00025, EPSILON / 4))
    assert (final["max_lr"], final["eps"]) == pytest.approx((0.0025, EPSILON * 4))
    assert "max_lr" not in embedding and "eps" not in gains
    assert [group["wd_mult"] for group in (embedding, matrices, gains, final)] == [1.0, 1.0, 0.0, 0.0]


def test_the_output_factor_scales_the_final_gain_its_rate_and_its_epsilon_also_at_the_base(ranks: Ranks) -> None:
    plain, raised = (dict(model_of(32, ranks, 1.0, output).named_parameters()) for output in (1.0, 4.0))
    assert set(raised.pop("decoder.final_layernorm.weight").tolist()) == {4.0}
    assert all(bool((plain[name] == weight).all()) for name, weight in raised.items())
    final = scaled_groups(model_of(32, ranks, 1.0), 2.0, (0.01, 0.001), EPSILON, 8.0)[3]
    assert (final["max_lr"], final["min_lr"], final["eps"]) == pytest.approx((0.04, 0.004, EPSILON / 4))


def test_a_gain_of_one_over_the_width_trains_as_a_factor_on_the_logits_does() -> None:
    width, rate = 4.0, 0.05
    hidden, target = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.ones(8)
    folded = torch.nn.Parameter(torch.full((6,), 1 / width))
    factor = torch.nn.Parameter(torch.ones(6))
    steps = (
        (folded, torch.optim.AdamW([folded], lr=rate / width, eps=1e-3 * width, weight_decay=0.0), 1.0),
        (factor, torch.optim.AdamW([factor], lr=rate, eps=1e-3, weight_decay=0.0), 1 / width),
    )
    for gain, optimizer, scale in steps:
        for _ in range(5):
            gain.grad = torch.autograd.grad(functional.mse_loss((hidden * gain).sum(1) * scale, target), gain)[0]
            optimizer.step()
            optimizer.zero_grad()
    torch.testing.assert_close(folded * width, factor)
