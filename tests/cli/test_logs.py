"""The log: warnings alone by default, events with `-v`; workers write to Ray's files and name stage, call and shard."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import ray

from mixproof.cli.command_list import COMMANDS
from mixproof.cli.logs import set_verbosity
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.task_logs import log_context


@pytest.fixture(autouse=True)
def quiet_again() -> Iterator[None]:
    yield
    set_verbosity(0)


def write_two_lines(shard: str) -> None:
    logger = logging.getLogger("mixproof.example")
    with log_context(shard):
        logger.info("read")
        logger.debug("each record")


def logs_of_workers() -> str:
    folder = Path(ray.get_runtime_context().worker.node.get_logs_dir_path())
    return "".join(path.read_text() for path in sorted(folder.glob("worker-*.err")))


def test_every_command_takes_v() -> None:
    for name in COMMANDS:
        command = getattr(import_module(f"mixproof.cli.commands.{name}"), name)
        assert "verbose" in signature(command).parameters, name


def test_by_default_warnings_are_shown_and_events_are_not(capfd: pytest.CaptureFixture[str]) -> None:
    set_verbosity(0)
    logger = logging.getLogger("mixproof.example")
    logger.info("an event")
    logger.warning("a warning about [red] brackets")
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err == "a warning about [red] brackets\n"


def test_v_shows_events_and_vv_details_once_each(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("mixproof.example")
    for verbosity, lines in ((1, 1), (2, 2), (3, 2)):
        set_verbosity(verbosity)
        logger.info("an event")
        logger.debug("a detail")
        shown = capfd.readouterr()
        assert shown.out == ""
        assert [line.partition(" mixproof.example: ")[2] for line in shown.err.splitlines()] == (
            ["an event", "a detail"][:lines]
        )


def test_workers_log_to_rays_files_with_stage_call_and_shard(cluster: Cluster) -> None:
    cluster.run(write_two_lines, [("shard one",), ("shard two",)], label="reading quietly")
    quiet = logs_of_workers()
    assert "INFO mixproof.example [reading quietly, call 1 of 2, shard one] read\n" in quiet
    assert "INFO mixproof.example [reading quietly, call 2 of 2, shard two] read\n" in quiet
    assert "[reading quietly, call 1 of 2] started" in quiet and "each record" not in quiet
    set_verbosity(2)
    cluster.run(write_two_lines, [("shard three",)], label="reading aloud")
    assert "DEBUG mixproof.example [reading aloud, call 1 of 1, shard three] each record\n" in logs_of_workers()


def test_v_says_what_runs_and_where_workers_log_and_leaves_stdout_to_the_result(
    mixproof: Callable[..., Any], tmp_path: Path
) -> None:
    from conftest import write_experiment  # not above: workers import this module and have no conftest

    spec = write_experiment(tmp_path)
    done = mixproof("inspect", spec, "--json", "-v")
    assert done.code == 0, done.err
    assert set(done.json["sources"]) == {"code", "manual", "guide", "notes"}
    folder = re.search(
        r"INFO mixproof\.pipeline\.cluster\.running: Ray .* workers log to (.*)/worker-\*\.err", done.err
    )
    assert folder is not None and Path(folder[1]).is_dir(), done.err
    assert re.search(r"INFO mixproof\.pipeline\.cluster\.cluster: identify: 1 tasks", done.err), done.err
    assert "INFO" not in mixproof("inspect", spec, "--json").err
