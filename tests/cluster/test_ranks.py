"""A run whose two ranks are on two nodes: the bytes of two ranks on one machine, even if a node or its link fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.box import Box, cluster_in_a_box
from cluster.experiment import local_spec, new_store, run_here
from cluster.faults import heal
from cluster.namespaces import has_namespaces
from cluster.node import Node
from cluster.other_code import another_pyarrow
from cluster.trial import Expected
from cluster.workload import RANKS
from mixproof.ledger.store.store import Store

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not has_namespaces(), reason="needs root and `ip netns`: nodes with addresses of their own"),
]
RANK = "RayTrainWorker"
"""In the title of a process that trains one rank."""


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    """A head and three workers."""
    folder = Path("/var/tmp") / f"mixproof-box-{uuid.uuid4().hex[:8]}"  # noqa: S108
    folder.mkdir()
    with cluster_in_a_box(folder, workers=3) as started:
        yield started
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def expected(box: Box) -> Expected:
    """What two ranks on this machine make."""
    return run_here(box.folder, RANKS)


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


@dataclass(frozen=True)
class Training:
    """A running command whose two ranks are on two nodes and have made some steps."""

    command: subprocess.Popen[str]
    store: Path
    nodes: tuple[Node, Node]

    def check(self, expected: Expected) -> None:
        """Wait for the end, and compare."""
        output, errors = self.command.communicate(timeout=900)
        assert self.command.returncode == 0, errors
        assert "Traceback" not in errors
        assert RANKS.results(Store(self.store)) == expected.files
        (run,) = json.loads(output)["runs"]
        assert run["consumed_tokens"] == 40 * 512


@pytest.fixture
def training(box: Box, expected: Expected) -> Iterator[Training]:
    """Start it with a new store; in the end, put the cluster right again."""
    store = Path(new_store(box.folder, RANKS, ""))
    command = RANKS.start(box, local_spec(box.folder, RANKS), str(store))
    first, second = nodes_with_ranks(box, command)
    assert first is not second
    wait_for_steps(store, 5, command)
    yield Training(command, store, (first, second))
    command.kill()
    heal(box)


def test_ranks_on_two_nodes_of_which_one_dies_make_the_record_of_ranks_on_one_machine(
    training: Training, expected: Expected
) -> None:
    training.nodes[1].kill()
    training.check(expected)


@pytest.mark.parametrize("seconds", [5, 60])
def test_ranks_on_two_nodes_whose_link_is_cut_make_the_record_of_ranks_on_one_machine(
    training: Training, expected: Expected, seconds: int
) -> None:
    training.nodes[1].cut()
    time.sleep(seconds)
    training.nodes[1].mend()
    training.check(expected)


def test_a_rank_on_a_node_with_other_code_names_it_and_the_run_goes_on_without_it(box: Box, expected: Expected) -> None:
    for node in box.workers:
        node.kill()
    other, good, later = box.workers
    folder = box.folder / "another_pyarrow"
    box.start_worker(other, mounts={another_pyarrow(folder): folder})
    other.must_restart = True
    box.start_worker(good)
    store, spec = box.folder / uuid.uuid4().hex, local_spec(box.folder, RANKS)
    shutil.copytree(box.folder / f"store-{RANKS.name}", store)
    shutil.rmtree(store / "train")  # the draws stay, so only ranks reach the other node
    refused = RANKS.start(box, spec, str(store))
    _, errors = refused.communicate(timeout=900)
    assert refused.returncode == 1
    assert f"node {other.name} runs different code than this command: pyarrow 1.0" in " ".join(errors.split())
    assert "Traceback" not in errors
    box.start_worker(later)
    Training(RANKS.start(box, spec, str(store)), store, (good, later)).check(expected)
    heal(box)
