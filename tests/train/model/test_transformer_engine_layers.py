"""Layers other than the plain ones: which are taken, and what keeps a run from them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from megatron.core.models.gpt import GPTModel
from torch import Tensor

from mixproof.train.distributed import Ranks
from mixproof.train.model.attention import DeviceRotaryEmbedding
from mixproof.train.model.backend_check import MOST, distance, gradients, seeded_batch, seeded_model, why_not
from mixproof.train.model.layer_backend import COMPILED_FROM_FLOPS, Layers, first_proven, offered
from mixproof.train.model.layer_math import why_not_compiled
from mixproof.train.model.micro_batch import steps_of
from mixproof.train.model.state import build_state
from mixproof.train.request import RunRequest

MakeRequest = Callable[..., RunRequest]
HERE = Path(__file__).parent
STAND_IN = HERE / "transformer_engine_stand_in"


@pytest.mark.slow
def test_every_check_holds_where_transformer_engine_is_installed() -> None:
    """In a process of its own, because Megatron looks for the package once, as it is imported."""
    paths = [str(STAND_IN), *sys.path]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default", HERE / "engine_checks.py"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=HERE.parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_long_run_on_a_gpu_is_compiled_where_triton_is(make_request: MakeRequest) -> None:
    request, gpu = make_request(), Ranks(0, 1, torch.device("cuda"))
    assert offered(request, gpu) == ([], [])
    long = request.model_copy(update={"budget": replace(request.budget, tokens_planned=COMPILED_FROM_FLOPS["cuda"])})
    found, against = offered(long, gpu)
    if (reason := why_not_compiled("cuda")) is None:
        assert [layers.name for layers in found] == ["compiled"] and against == []
    else:
        assert found == [] and against == [reason]


def with_other_turns(model: GPTModel) -> GPTModel:
    model.rotary_pos_emb = DeviceRotaryEmbedding(kv_channels=8, rotary_base=100, device=torch.device("cpu"))
    return model


def unable(_: GPTModel) -> GPTModel:
    raise RuntimeError("\n")


def test_the_first_layers_that_compute_the_same_are_taken(
    make_request: MakeRequest, ranks: Ranks, capsys: pytest.CaptureFixture[str]
) -> None:
    request = make_request()
    model = build_state(request, ranks).model
    turned, broken = Layers("turned", with_other_turns), Layers("broken", unable)
    plain, name = first_proven([turned, broken], model, request, ranks, ["no Triton"], in_bfloat16=False)
    assert plain is model
    assert name.startswith("plain: no Triton; turned: the gradient of decoder.layers.")
    assert name.endswith("; broken: RuntimeError: no message")
    assert len(capsys.readouterr().err.splitlines()) == 2
    same = Layers("same", lambda given: given)
    assert first_proven([broken, same], model, request, ranks, in_bfloat16=False)[1].startswith("same; broken: ")
    assert first_proven([], model, request, ranks) == (model, "plain")


class Second(Ranks):
    """A rank whose first one has what it has not."""

    def agree(self, value: str) -> str:
        """Name layers of the first rank, then say what it says."""
        return '["exotic"]' if value.startswith("[") else value


def test_layers_that_a_rank_does_not_have_are_not_taken(make_request: MakeRequest, ranks: Ranks) -> None:
    request, second = make_request(), Second(0, 1, ranks.device)
    model = build_state(request, ranks).model
    same = Layers("same", lambda given: given)
    assert first_proven([same], model, request, second, in_bfloat16=False) == (
        model,
        "plain: exotic: RuntimeError: not installed on every machine",
    )


class WithOneThatFails(Ranks):
    """The first of two ranks, of which the other's layers do not agree."""

    def sum(self, tensor: Tensor) -> None:
        """Add what the other one says."""
        tensor += 1


def test_all_ranks_are_plain_where_the_layers_of_one_disagree(make_request: MakeRequest, ranks: Ranks) -> None:
    both = WithOneThatFails(0, 1, ranks.device)
    assert why_not(lambda model: model, make_request(), both, in_bfloat16=False) == (
        "1 of the other ranks cannot rely on them"
    )


def test_a_proof_leaves_the_generators_where_they_were(make_request: MakeRequest, ranks: Ranks) -> None:
    numbers = torch.get_rng_state()
    assert why_not(lambda model: model, make_request(), ranks, in_bfloat16=False) is None
    assert torch.equal(torch.get_rng_state(), numbers)


@pytest.mark.usefixtures("types_as_on_cuda")
def test_rounding_to_bfloat16_stays_far_below_the_bound(make_request: MakeRequest, ranks: Ranks) -> None:
    request = make_request()
    plan = steps_of(request, ranks)
    model, batch = seeded_model(request, ranks.device), seeded_batch(600, plan, ranks.device)
    exact = gradients(model, model, batch, plan, False)
    rounded = gradients(model, model, batch, plan, True)
    found = [distance(exact[name], rounded[name]) for name in exact]
    assert 0.002 < max(found) < MOST / 2
