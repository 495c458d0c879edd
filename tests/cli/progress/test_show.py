"""Lines on stderr and in the store's log file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixproof.cli.logs import set_verbosity
from mixproof.cli.progress.show import set_quiet, stage_progress
from mixproof.cli.progress.stages import CHECKSUMS, READ
from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.task_progress import TaskProgress

LINES = ["stage 1 of 2, checksums of the files: 2 KB in 0 s", "stage 2 of 2, reading and steps: 9 KB in 0 s"]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    set_verbosity(0)
    yield
    set_quiet(False)


def work(store: Store | None = None) -> None:
    with stage_progress((CHECKSUMS, READ), store, "build") as progress:
        progress(TaskProgress("identify", 1, 1, 2_000, 2_000))
        logging.getLogger("mixproof.example").info("an event")
        progress(TaskProgress("read", 1, 1, 9_000, 9_000))


def test_without_a_terminal_there_is_a_line_per_stage(capfd: pytest.CaptureFixture[str]) -> None:
    work()
    assert capfd.readouterr().err.splitlines() == LINES


def test_q_shows_no_progress(capfd: pytest.CaptureFixture[str]) -> None:
    set_quiet(True)
    work()
    assert capfd.readouterr().err == ""


def test_the_log_file_in_the_store_has_stages_events_and_the_end(tmp_path: Path) -> None:
    set_quiet(True)
    work(Store(tmp_path))
    (path,) = (tmp_path / "logs").iterdir()
    assert path.name.endswith("-build.log")
    lines = [line.split(": ", 1)[1] for line in path.read_text().splitlines()]
    assert lines[0].startswith("mixproof ")
    assert lines[1:] == [LINES[0], LINES[1], "finished"] or lines[1:] == ["an event", *LINES, "finished"]
    assert "an event" in lines


def test_the_error_that_ends_a_command_is_in_its_log_file(tmp_path: Path) -> None:
    with pytest.raises(RequestError), stage_progress((READ,), Store(tmp_path), "build") as progress:
        progress(TaskProgress("read", 0, 1))
        raise RequestError("source web: a file has changed")
    (path,) = (tmp_path / "logs").iterdir()
    assert path.read_text().splitlines()[-1].endswith("RequestError: source web: a file has changed")


def test_a_command_without_work_writes_no_log_file(tmp_path: Path) -> None:
    with stage_progress((READ,), Store(tmp_path / "store"), "build"):
        pass
    assert not (tmp_path / "store").exists()
