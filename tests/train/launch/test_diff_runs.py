"""Diff of two runs that were really trained."""

from __future__ import annotations

from collections.abc import Callable

from mixproof.ledger.store import Store
from mixproof.train.launch.diff import diff
from mixproof.train.loop.run import train_run
from mixproof.train.record import run_folder
from mixproof.train.request import RunRequest

MakeRequest = Callable[..., RunRequest]


def test_two_runs_differ_in_what_was_asked_and_in_what_came_out(make_request: MakeRequest) -> None:
    one, other = make_request(), make_request(lr="0.004")
    folders = [run_folder(Store(request.store), request.key) for request in (one, other)]
    for request in (one, other):
        train_run(request)
    found = diff(folders[0], folders[1] / "run.json")
    assert found.kind == "run"
    values = {difference.key: (difference.a, difference.b) for difference in found.differences}
    assert values["recipe.lr"] == ("0.003", "0.004")
    assert {"key", "heldout.manual.loss"} <= set(values)
    assert not any(key.startswith(("draws.", "delivered.", "phases", "masks")) for key in values)
    assert [(rerun.what, rerun.because) for rerun in found.reruns] == [("the run", ("recipe.lr",))]
    same = diff(folders[0], folders[0])
    assert (same.differences, same.reruns, same.notes) == ((), (), ("both are the same run",))
