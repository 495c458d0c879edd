"""Layer backends other than the plain layers: which are used, and why others are rejected."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from megatron.core.models.gpt import GPTModel
from torch import Tensor

from mixproof.train.distributed import Ranks
from mixproof.train.model.attention import DeviceRotaryEmbedding
from mixproof.train.model.backend_check import (
    MAX_DIFFERENCE,
    gradients,
    reason_to_reject,
    relative_difference,
    seeded_batch,
    seeded_model,
)
from mixproof.train.model.layer_backend import (
    COMPILED_FROM_FLOPS,
    LayerBackend,
    available_backends,
    first_that_agrees,
)
from mixproof.train.model.layer_history import LayerHistory, RejectedBackend
from mixproof.train.model.layer_math import why_not_compiled
from mixproof.train.model.micro_batch import step_plan
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
    assert available_backends(request, gpu) == ([], [])
    long = make_request(steps=COMPILED_FROM_FLOPS["cuda"])
    available, rejected = available_backends(long, gpu)
    if (reason := why_not_compiled("cuda")) is None:
        assert [backend.name for backend in available] == ["compiled"] and rejected == []
    else:
        assert available == [] and rejected == [RejectedBackend("compiled", reason)]


def with_other_rotation(model: GPTModel) -> GPTModel:
    model.rotary_pos_emb = DeviceRotaryEmbedding(kv_channels=8, rotary_base=100, device=torch.device("cpu"))
    return model


def unable(_: GPTModel) -> GPTModel:
    raise RuntimeError("\n")


def test_the_first_backend_that_agrees_is_used_and_each_rejected_one_is_logged(
    make_request: MakeRequest, ranks: Ranks, caplog: pytest.LogCaptureFixture
) -> None:
    request = make_request()
    model = build_state(request, ranks).model
    rotated, broken = LayerBackend("rotated", with_other_rotation), LayerBackend("broken", unable)
    missing = RejectedBackend("compiled", "no Triton")
    plain, history = first_that_agrees([rotated, broken], model, request, ranks, [missing], in_bfloat16=False)
    assert plain is model and history.backend == "plain"
    assert [one.backend for one in history.rejected] == ["compiled", "rotated", "broken"]
    assert history.rejected[0] == missing
    assert history.rejected[1].reason.startswith("the gradient of decoder.layers.")
    assert history.rejected[2].reason == "RuntimeError: no message"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2
    assert warnings[1] == "layer backend broken rejected: RuntimeError: no message"
    same = LayerBackend("same", lambda given: given)
    learner, history = first_that_agrees([broken, same], model, request, ranks, in_bfloat16=False)
    assert learner is model and history.backend == "same" and history.rejected[0].backend == "broken"
    assert first_that_agrees([], model, request, ranks) == (model, LayerHistory("plain"))


class Second(Ranks):
    """A rank that lacks a backend of rank 0."""

    def agree(self, value: str) -> str:
        """Return rank 0's list of backends, and otherwise the value."""
        return '["exotic"]' if value.startswith("[") else value


def test_a_backend_that_a_rank_lacks_is_not_used(make_request: MakeRequest, ranks: Ranks) -> None:
    request, second = make_request(), Second(0, 1, ranks.device)
    model = build_state(request, ranks).model
    same = LayerBackend("same", lambda given: given)
    assert first_that_agrees([same], model, request, second, in_bfloat16=False) == (
        model,
        LayerHistory("plain", (RejectedBackend("exotic", "RuntimeError: not installed on every machine"),)),
    )


class WithOneThatFails(Ranks):
    """Rank 0 of two ranks; the check failed on the other."""

    def sum(self, tensor: Tensor) -> None:
        """Add the other rank's failure."""
        tensor += 1


def test_all_ranks_are_plain_if_the_backend_of_one_disagrees(make_request: MakeRequest, ranks: Ranks) -> None:
    both = WithOneThatFails(0, 1, ranks.device)
    assert reason_to_reject(lambda model: model, make_request(), both, in_bfloat16=False) == (
        "the check failed on 1 of the other ranks"
    )


def test_a_check_restores_the_random_state(make_request: MakeRequest, ranks: Ranks) -> None:
    numbers = torch.get_rng_state()
    assert reason_to_reject(lambda model: model, make_request(), ranks, in_bfloat16=False) is None
    assert torch.equal(torch.get_rng_state(), numbers)


@pytest.mark.usefixtures("types_as_on_cuda")
def test_rounding_to_bfloat16_stays_far_below_the_bound(make_request: MakeRequest, ranks: Ranks) -> None:
    request = make_request()
    plan = step_plan(request, ranks)
    model, batch = seeded_model(request, ranks.device), seeded_batch(600, plan, ranks.device)
    exact = gradients(model, model, batch, plan, False)
    rounded = gradients(model, model, batch, plan, True)
    found = [relative_difference(exact[name], rounded[name]) for name in exact]
    assert 0.002 < max(found) < MAX_DIFFERENCE / 2
