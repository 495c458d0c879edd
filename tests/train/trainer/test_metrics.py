"""The metrics file after resumes, and what a watcher sees of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.store import Store
from mixproof.train.metrics import MetricsLog, StepMetrics, read_metrics
from mixproof.train.ownership import Ownership
from mixproof.train.progress import Watch
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


def test_a_watch_tells_speed_and_time_left(make_request: Callable[..., RunRequest]) -> None:
    request = make_request(steps=8)  # 1,024 tokens
    owner = Ownership(run_folder(Store(request.store), request.key))
    watch = Watch(request)
    assert watch.look(10.0) is None
    owner.take()
    write(owner, 0, step(1))
    first = watch.look(11.0)
    assert first is not None
    assert (first.step, first.steps, first.tokens_per_second, first.seconds_left) == (1, 8, None, None)
    assert watch.look(12.0) is None
    write(owner, 1, step(2), step(3))
    second = watch.look(13.0)
    assert second is not None
    assert (second.step, second.tokens_per_second, second.seconds_left) == (3, 128.0, 5.0)
