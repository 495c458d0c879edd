"""A build on a cluster of machines with networks of their own, some of which fail: the bytes of one machine."""

from __future__ import annotations

import random
import shutil
import uuid
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

from cluster.box import Box, cluster_in_a_box
from cluster.experiment import upload
from cluster.namespaces import has_namespaces
from cluster.trial import Expected, run_trial
from cluster.workload import BUILD, lasting
from conftest import ROOT, Experiment
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


def another_mixproof(folder: Path) -> Path:
    """Copy a room of the checkout into a folder and change a module; the folder that it takes the place of."""
    shutil.copytree(ROOT / "pipeline", folder)
    changed = folder / "mixproof" / "pipeline" / "columns.py"
    changed.write_bytes(changed.read_bytes() + b"# another version\n")
    return ROOT / "pipeline"


def another_pyarrow(folder: Path) -> Path:
    """Copy what pip knows of pyarrow into a folder, with another version; the folder that it takes the place of."""
    installed = Path(str(distribution("pyarrow").locate_file(f"pyarrow-{distribution('pyarrow').version}.dist-info")))
    shutil.copytree(installed, folder)
    metadata = folder / "METADATA"
    metadata.write_text(metadata.read_text().replace(f"\nVersion: {distribution('pyarrow').version}", "\nVersion: 1.0"))
    return installed


@pytest.mark.skipif(not has_namespaces(), reason="without root and `ip netns` all nodes see one file system")
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
    box: Box, remote: tuple[Path, str], install: Callable[[Path], Path], difference: str
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
