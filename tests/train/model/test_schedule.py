"""The learning rate of every step, and which weights decay."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.train.launch.plan import check_schedule
from mixproof.train.model.optimizer import build_optimizer, parameters_of
from mixproof.train.model.schedule import build_scheduler


def rates(budget: RunBudget, shape: str) -> list[float]:
    model = torch.nn.Linear(2, 2)
    optimizer = build_optimizer(model, lr=1.0, betas=(0.9, 0.95))
    scheduler = build_scheduler(optimizer, budget, lr=1.0, min_lr=0.2, weight_decay=0.1, shape=shape)
    seen = []
    for _ in range(budget.steps):
        seen.append(float(optimizer.param_groups[0]["lr"]))
        scheduler.step(budget.global_batch_size)
    return seen


@pytest.mark.parametrize(
    ("shape", "falling"),
    [
        ("linear", lambda x: 1 - x),
        ("minus_sqrt", lambda x: 1 - math.sqrt(x)),
        ("cosine", lambda x: (1 + math.cos(math.pi * x)) / 2),
        ("exponential", lambda x: 2 * 0.5**x - 1),
    ],
)
def test_the_rate_rises_stays_and_falls(
    make_budget: Callable[..., RunBudget], shape: str, falling: Callable[[float], float]
) -> None:
    budget = replace(make_budget(8, {"a": 30}, global_batch_size=3), warmup_steps=2, decay_steps=4)
    expected = [0, 0.5, 1, 1, 1, 1] + [0.2 + 0.8 * falling(k / 4) for k in range(4)]
    assert rates(budget, shape) == pytest.approx(expected)


def test_without_warm_up_and_decay_the_rate_stays(make_budget: Callable[..., RunBudget]) -> None:
    assert rates(make_budget(8, {"a": 4}), "linear") == [1.0, 1.0, 1.0, 1.0]


def test_a_run_that_is_all_warm_up_is_refused(make_budget: Callable[..., RunBudget]) -> None:
    budget = replace(make_budget(8, {"a": 1}), warmup_steps=1)
    with pytest.raises(
        RequestError,
        match="prose at nano: the warm-up of 1 steps .* is not shorter than the run of 1 steps",
    ):
        check_schedule(budget, "prose at nano")
    check_schedule(replace(budget, warmup_steps=0), "prose at nano")


def test_matrices_decay_and_vectors_do_not(make_budget: Callable[..., RunBudget]) -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(5, 3), torch.nn.RMSNorm(3), torch.nn.Linear(3, 2))
    optimizer = build_optimizer(model, lr=1.0, betas=(0.9, 0.95))
    build_scheduler(optimizer, make_budget(8, {"a": 4}), lr=1.0, min_lr=0.1, weight_decay=0.1, shape="linear")
    decays = {tuple(p.shape): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {(5, 3): 0.1, (2, 3): 0.1, (3,): 0.0, (2,): 0.0}
    assert len(parameters_of(optimizer)) == len(list(model.parameters()))
