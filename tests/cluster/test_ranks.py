"""A run whose two ranks are on two nodes: the record of two ranks on one machine, even if a node dies meanwhile."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.box import Box, Node, cluster_in_a_box
from cluster.namespaces import has_namespaces
from cluster.workload import TWO_RANKS
from conftest import environment, mixproof_command, write_experiment

RANK = "RayTrainWorker"
"""In the title of a process that trains one rank."""


@pytest.fixture
def box() -> Iterator[Box]:
    """A head and three workers."""
    folder = Path("/var/tmp") / f"mixproof-box-{uuid.uuid4().hex[:8]}"  # noqa: S108
    folder.mkdir()
    with cluster_in_a_box(folder, workers=3) as started:
        yield started
    shutil.rmtree(folder)


def on_this_machine(*arguments: str | Path) -> None:
    """Run a command on a Ray of its own with two processors."""
    command = mixproof_command(*arguments, "--workers", "2")
    subprocess.run(command, env=environment(), check=True, capture_output=True)


def nodes_with_ranks(box: Box, training: subprocess.Popen[str]) -> list[Node]:
    """Wait until two processes train; their nodes."""
    end = time.monotonic() + 300
    while True:
        nodes = [node for node in box.workers for _ in node.processes(RANK)]
        if len(nodes) == 2:
            return nodes
        assert training.poll() is None and time.monotonic() < end, training.communicate()
        time.sleep(0.1)


def wait_for_steps(store: Path, steps: int, training: subprocess.Popen[str]) -> None:
    """Wait until a run has made so many steps."""
    end = time.monotonic() + 300
    while sum(len(path.read_text().splitlines()) for path in store.glob("train/*/metrics.jsonl")) < steps:
        assert training.poll() is None and time.monotonic() < end, training.communicate()
        time.sleep(0.05)


def run_record(store: Path) -> dict[str, Any]:
    """The record of a store's only run."""
    record: dict[str, Any] = json.loads(next(store.glob("train/*/run.json")).read_bytes())
    return record


@pytest.mark.chaos
@pytest.mark.skipif(not has_namespaces(), reason="needs root and `ip netns`: nodes with addresses of their own")
def test_ranks_on_two_nodes_of_which_one_dies_make_the_record_of_ranks_on_one_machine(box: Box) -> None:
    spec = write_experiment(box.folder, TWO_RANKS)
    here, shared = box.folder / "here", box.folder / "shared"  # all nodes of the box see this machine's folders
    on_this_machine("build", spec, "--store", here)
    shutil.copytree(here, shared)
    training = box.mixproof("train", spec, "--store", shared, "--json")
    first, second = nodes_with_ranks(box, training)
    assert first is not second
    wait_for_steps(shared, 5, training)
    second.kill()
    output, errors = training.communicate(timeout=900)
    assert training.returncode == 0, errors
    on_this_machine("train", spec, "--store", here)
    assert run_record(shared) == run_record(here)
    (run,) = json.loads(output)["runs"]
    assert run["consumed_tokens"] == 40 * 512
