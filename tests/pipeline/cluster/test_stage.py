"""A stage runs what is missing, once, and its receipts are found, checked and sealed in one place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mixproof.ledger.errors import MixproofError
from mixproof.ledger.store import Receipt, Store
from mixproof.ledger.store.receipts import Receipts
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import make_missing, run_missing

STAGE = "squares"


def write_squares(store: Store, pairs: list[tuple[str, int]]) -> None:
    for key, number in pairs:
        if number < 0:
            continue  # a task that forgets an output
        with store.attempt(STAGE, key) as attempt:
            attempt.path("square.txt").write_text(str(number**2))
            attempt.commit(facts={"square": number**2, "pid": os.getpid()})


def run_squares(store: Store, numbers: dict[str, int], cluster: Cluster) -> Receipts:
    def calls(missing: dict[str, int]) -> list[tuple[object, ...]]:
        return [(store, [pair]) for pair in missing.items()]

    return run_missing(store, STAGE, numbers, calls, write_squares, cluster, "squares")


def test_only_missing_outputs_are_made_and_both_are_counted(tmp_path: Path, cluster: Cluster) -> None:
    store, run, reused = Store(tmp_path), cluster.stages_run, cluster.stages_reused
    first = run_squares(store, {"two": 2}, cluster)
    both = run_squares(store, {"two": 2, "three": 3}, cluster)
    assert (cluster.stages_run - run, cluster.stages_reused - reused) == (2, 1)
    assert {key: receipt.facts["square"] for key, receipt in both.items()} == {"two": 4, "three": 9}
    assert both["two"] == first["two"] and both["three"].facts["pid"] != os.getpid()


def test_an_output_that_no_task_wrote_is_an_error_that_names_it(tmp_path: Path, cluster: Cluster) -> None:
    with pytest.raises(MixproofError, match=r"squares: .* 1 of 2 outputs are not in .*squares/minus_one; check that"):
        run_squares(Store(tmp_path), {"two": 2, "minus_one": -1}, cluster)


def test_many_receipts_are_sealed_and_found_again(tmp_path: Path, cluster: Cluster) -> None:
    store, numbers = Store(tmp_path), {f"{number:04d}": number for number in range(1000)}

    def calls(missing: dict[str, int]) -> list[tuple[object, ...]]:
        return [(store, list(missing.items()))]

    for _ in range(2):
        receipts = run_missing(store, STAGE, numbers, calls, write_squares, cluster, "squares")
        assert receipts["0999"].facts["square"] == 998_001 and len(receipts) == 1000
    assert not (tmp_path / STAGE / "0999" / "receipt.json").exists()
    assert len(store.keys("sealed")) == 1


def test_work_that_no_worker_can_reach_is_done_in_this_process_and_starts_no_ray(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with Cluster(address="no-such-host:1") as idle:
        receipts = run_missing(
            store,
            STAGE,
            {"two": 2},
            lambda missing: [(store, list(missing.items()))],
            write_squares,
            idle,
            "squares",
            in_driver=lambda number: number == 2,
        )
    assert receipts["two"].facts == {"square": 4, "pid": os.getpid()}


def test_one_output_is_made_in_the_driver_once_unless_it_is_incomplete(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made: list[int] = []

    def make() -> Receipt:
        made.append(len(made))
        with store.attempt(STAGE, "two") as attempt:
            return attempt.commit(facts={"square": 4})

    with Cluster() as idle:
        make_missing(store, STAGE, "two", make, idle)
        make_missing(store, STAGE, "two", make, idle)
        receipt = make_missing(store, STAGE, "two", make, idle, is_complete=lambda found: not found.facts)
        assert receipt.facts == {"square": 4}
        assert (made, idle.stages_run, idle.stages_reused) == ([0, 1], 2, 1)
