"""The metrics file after resumes, and what a watcher sees of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.store import Store
from mixproof.train.launch.progress import FamilyWatch, RunProgress
from mixproof.train.loop.metrics import MetricsLog, StepMetrics, last_metrics, read_metrics
from mixproof.train.ownership import Ownership
from mixproof.train.record import run_folder
from mixproof.train.request import RunRequest


def step(number: int, loss: float = 2.5) -> StepMetrics:
    return StepMetrics(step=number, samples=4 * number, tokens=128 * number, loss=loss, lr=0.001, grad_norm=0.1)


@pytest.fixture
def owner(tmp_path: Path) -> Ownership:
    ownership = Ownership(tmp_path)
    ownership.take()
    return ownership


def write(owner: Ownership, done: int, *steps: StepMetrics) -> None:
    log = MetricsLog(owner.folder, owner, done)
    for metrics in steps:
        log.append(metrics)
    log.close()


def test_steps_done_again_replace_the_lines_of_the_first_time(owner: Ownership) -> None:
    write(owner, 0, step(1), step(2), step(3))
    with (owner.folder / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 4, "samp')
    assert [row.step for row in read_metrics(owner.folder)] == [1, 2, 3]
    write(owner, 2, step(3, loss=1.25), step(4))
    assert [(row.step, row.loss) for row in read_metrics(owner.folder)] == [(1, 2.5), (2, 2.5), (3, 1.25), (4, 2.5)]


def test_an_older_attempt_can_not_add_lines(owner: Ownership) -> None:
    old = MetricsLog(owner.folder, owner, 0)
    old.append(step(1))
    owner.take()
    write(owner, 1, step(2))
    old.append(step(9))  # between look and write: it goes to the file that the new attempt has replaced
    assert [row.step for row in read_metrics(owner.folder)] == [1, 2]
    old.close()


def test_missing_lines_are_named(owner: Ownership) -> None:
    write(owner, 0, step(1), step(3))
    with pytest.raises(DamagedFileError, match=r"step 3.*the checkpoint is at step 2"):
        MetricsLog(owner.folder, owner, 2)


def test_a_watch_tells_state_speed_and_time_left(make_request: Callable[..., RunRequest]) -> None:
    request = make_request(steps=8)  # 1,024 tokens
    owner = Ownership(run_folder(Store(request.store), request.key))
    family = FamilyWatch([request], [False])

    def look(now: float) -> RunProgress:
        (run,) = family.poll(now).runs
        return run

    assert (look(10.0).state, look(10.0).tokens, look(10.0).loss) == ("waiting", 0, None)
    owner.take()
    assert look(11.0).state == "starting"
    write(owner, 0, step(1))
    first = look(12.0)
    assert (first.state, first.tokens, first.tokens_planned, first.tokens_per_second) == ("training", 128, 1024, None)
    write(owner, 1, step(2), step(3))
    second = look(14.0)
    assert (second.tokens, second.loss, second.tokens_per_second, second.seconds_left) == (384, 2.5, 128.0, 5.0)
    assert family.poll(14.0).seconds_left == pytest.approx(640 / (384 / 4))  # 384 tokens since the first poll at 10.0
    write(owner, 1, step(2))  # it went back to a checkpoint
    assert look(15.0).tokens_per_second is None
    write(owner, 2, *(step(number) for number in range(3, 9)))
    assert look(16.0).state == "scoring"
    family.end(request, "step 9: no number")
    assert (look(17.0).state, look(17.0).reason) == ("failed", "step 9: no number")


def test_a_resumed_run_waits_where_it_stopped(make_request: Callable[..., RunRequest]) -> None:
    request = make_request(steps=8)
    owner = Ownership(run_folder(Store(request.store), request.key))
    owner.take()
    write(owner, 0, step(1), step(2))
    (waiting,) = FamilyWatch([request], [False]).poll(10.0).runs
    (done,) = FamilyWatch([request], [True]).poll(10.0).runs
    assert (waiting.state, waiting.tokens, done.state, done.tokens) == ("waiting", 256, "done", 256)


def test_the_last_line_is_found_without_reading_the_others(owner: Ownership, monkeypatch: pytest.MonkeyPatch) -> None:
    assert last_metrics(owner.folder) is None
    write(owner, 0)
    assert last_metrics(owner.folder) is None
    for length in (16, 150, 10_000):  # shorter than a line, than two, longer than the file
        monkeypatch.setattr("mixproof.train.loop.metrics.TAIL_BYTES", length)
        write(owner, 0, step(1), step(2), step(3))
        with (owner.folder / "metrics.jsonl").open("ab") as file:
            file.write(b'{"step": 4, "samp')
        assert last_metrics(owner.folder) == step(3)
        write(owner, 0, step(1))
        assert last_metrics(owner.folder) == step(1)
