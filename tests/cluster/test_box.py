"""A build on a cluster of machines with networks of their own, some of which fail: the bytes of one machine."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

import pytest

from cluster.box import Box, cluster_in_a_box
from cluster.experiment import upload
from cluster.faults import tasks_on
from cluster.namespaces import has_namespaces
from cluster.node import Node
from cluster.other_code import Install, another_mixproof, another_pyarrow
from cluster.trial import Expected, run_trial
from cluster.workload import BUILD, lasting
from conftest import Experiment
from mixproof.ledger.store.store import Store


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    """A head and three workers."""
    folder = Path("/var/tmp") / f"mixproof-box-{uuid.uuid4().hex[:8]}"  # noqa: S108
    folder.mkdir()
    with cluster_in_a_box(folder, workers=3) as started:
        yield started
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def remote(box: Box) -> tuple[Path, str]:
    """The small experiment with its inputs on the box's S3 server, and where stores may be."""
    return upload(box, box.folder)


def test_a_cut_link_and_dropped_connections_change_no_byte(
    box: Box, remote: tuple[Path, str], experiment: Experiment
) -> None:
    spec, bucket = remote
    fault = "a link is cut for 5 s" if box.isolated else "a task's process dies"
    box.objects.share, box.objects.fault = 0.05, "dropped"
    store = Store(experiment.store)
    expected = Expected(BUILD.results(store), lasting(experiment.result["build"], store))
    trial = run_trial(box, BUILD, spec, f"{bucket}/{uuid.uuid4().hex}", expected, [fault], random.Random(1), span=3)  # noqa: S311
    assert trial.problems == ()
    assert [one.code for one in trial.attempts] == [0]
    assert box.objects.counts["dropped"] > 0


NEEDS_NAMESPACES = pytest.mark.skipif(
    not has_namespaces(), reason="without root and `ip netns` all nodes see one file system"
)


@NEEDS_NAMESPACES
@pytest.mark.parametrize(
    ("install", "difference"),
    [
        (another_mixproof, "mixproof's code"),
        pytest.param(
            another_pyarrow, f"pyarrow 1.0 instead of {distribution('pyarrow').version};", marks=pytest.mark.chaos
        ),
    ],
)
def test_a_node_with_another_version_is_refused_by_name(
    box: Box, remote: tuple[Path, str], install: Install, difference: str
) -> None:
    spec, bucket = remote
    other = box.folder / install.__name__
    for node in box.workers:
        node.kill()
    box.start_worker(box.workers[0], mounts={install(other): other})
    command = box.mixproof("build", spec, "--store", f"{bucket}/{uuid.uuid4().hex}")
    _, errors = command.communicate(timeout=300)
    assert command.returncode == 2
    said = f"node {box.workers[0].name} runs different code than this command: {difference}"
    assert said in " ".join(errors.split())
    assert "Traceback" not in errors


@NEEDS_NAMESPACES
@pytest.mark.chaos
@pytest.mark.parametrize("install", [another_pyarrow, another_mixproof])
def test_a_node_that_joins_with_another_version_is_named_and_the_build_goes_on_without_it(
    box: Box, remote: tuple[Path, str], experiment: Experiment, install: Install
) -> None:
    spec, bucket = remote
    for node in box.workers:
        node.kill()
    box.start_worker(box.workers[1])
    expected, other = BUILD.results(Store(experiment.store)), box.folder / f"joins-{install.__name__}"
    url = f"{bucket}/{uuid.uuid4().hex}"
    command = box.mixproof("build", spec, "--store", url)
    with stopped_tasks(box.workers[1], command):
        box.start_worker(box.workers[0], mounts={install(other): other})
    _, errors = command.communicate(timeout=600)
    assert command.returncode == 0, errors
    said = f"a node gets no calls, and others run them: node {box.workers[0].name} runs different code"
    assert " ".join(errors.split()).count(said) == 1, errors
    assert "Traceback" not in errors
    assert BUILD.results(Store(url)) == expected


@contextmanager
def stopped_tasks(node: Node, command: subprocess.Popen[str]) -> Iterator[None]:
    """Wait until a node runs a task of a command, and let it continue after the block."""
    end = time.monotonic() + 120
    while not (running := tasks_on(node)):
        assert command.poll() is None and time.monotonic() < end, command.communicate()
        time.sleep(0.1)
    for process in running:
        process.suspend()
    yield
    for process in running:
        process.resume()


@NEEDS_NAMESPACES
def test_a_command_that_is_killed_with_its_node_has_not_succeeded(box: Box) -> None:
    node = box.workers[0]
    command = subprocess.Popen(node.command("sleep", "600"))
    while not node.processes("sleep"):
        time.sleep(0.1)
    node.kill()
    assert command.wait(timeout=60) == -signal.SIGKILL
