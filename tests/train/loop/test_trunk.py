"""Trunk and branches: what runs have in common is trained once, and nothing shows it in their records."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from mixproof.ledger.manifest import CIRCUMSTANCES
from mixproof.ledger.store import Store
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.arithmetic.phase_budget import PhaseBudget
from mixproof.train.data.delivered import delivered
from mixproof.train.loop.metrics import read_metrics
from mixproof.train.loop.run import train_run
from mixproof.train.loop.trunk import in_waves, trunks_of
from mixproof.train.record import RUN, run_folder
from mixproof.train.request import RunRequest

MakeRequest = Callable[..., RunRequest]
TRUNK = PhaseBudget(0, 16, {"guide": 4, "manual": 12})


@pytest.fixture
def make_branch(make_request: MakeRequest) -> Callable[..., RunRequest]:
    """A run with a trunk of 4 steps and a branch of its own, all of which decays."""

    def make(mixture: str, place: str = "store", **samples_of: int) -> RunRequest:
        request = make_request(place=place)
        branch = PhaseBudget(16, sum(samples_of.values()), samples_of)
        samples = 16 + branch.samples
        totals = {name: TRUNK.samples_of[name] + samples_of.get(name, 0) for name in TRUNK.samples_of}
        budget = RunBudget(
            **{
                **vars(request.budget),
                "tokens_declared": samples * 32,
                "tokens_planned": samples * 32,
                "samples": samples,
                "steps": samples // 4,
                "decay_steps": branch.samples // 4,
                "phases": (TRUNK, branch),
                "declared": {name: Fraction(total, samples) for name, total in totals.items()},
            }
        )
        return request.model_copy(update={"budget": budget, "mixture": mixture})

    return make


def circumstances(request: RunRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run_folder(Store(request.store), request.key) / CIRCUMSTANCES).read_bytes())
    return found


def test_branches_of_a_trunk_are_as_if_each_was_trained_whole(make_branch: Callable[..., RunRequest]) -> None:
    prose, short = make_branch("prose", guide=4, manual=8), make_branch("short", guide=8)
    assert trunks_of(prose) == trunks_of(short)
    assert [[run.mixture for run in wave] for wave in in_waves([prose, short])] == [["prose"], ["short"]]
    train_run(prose)
    branch = train_run(short)
    assert circumstances(prose)["branched_from"] is None
    assert circumstances(short)["branched_from"] == prose.key
    assert circumstances(short)["resumed_from_samples"] == 16
    whole = make_branch("short", place="elsewhere", guide=8)
    train_run(whole)
    assert circumstances(whole)["resumed_from_samples"] == 0
    folders = [run_folder(Store(run.store), run.key) for run in (short, whole)]
    assert (folders[0] / RUN).read_bytes() == (folders[1] / RUN).read_bytes()
    assert [row.step for row in read_metrics(folders[0])] == list(range(1, 7))
    # the account covers trunk and branch, and the branch goes on where the trunk stopped
    assert {name: what.samples for name, what in delivered(folders[0] / "index", 24).items()} == {
        "guide": 12,
        "manual": 12,
    }
    assert branch.delivered["guide"].unique_tokens == 12 * 32


def test_what_differs_before_the_branch_is_another_trunk(make_branch: Callable[..., RunRequest]) -> None:
    run = make_branch("short", guide=8)
    (trunk,) = trunks_of(run)
    other_seed = run.model_copy(update={"seed": 2})
    other_masks = run.model_copy(update={"masks": run.masks.model_copy(update={"document_mask": True})})
    assert trunk.key not in {trunks_of(other)[0].key for other in (other_seed, other_masks)}
    early = RunBudget(**{**vars(run.budget), "decay_steps": 3})  # decays before the branch, at step 3 of 6
    assert trunks_of(run.model_copy(update={"budget": early})) == []


def test_a_trunk_that_is_gone_is_trained_again(make_branch: Callable[..., RunRequest]) -> None:
    prose, short = make_branch("prose", guide=4, manual=8), make_branch("short", guide=8)
    train_run(prose)
    (run_folder(Store(prose.store), prose.key) / "checkpoints/iter_000000000016/common.pt").unlink()
    train_run(short)
    assert circumstances(short)["resumed_from_samples"] == 0
