"""A build on a cluster of machines with networks of their own, some of which fail: the bytes of one machine."""

from __future__ import annotations

import random
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.box import Box, cluster_in_a_box
from cluster.experiment import upload
from cluster.namespaces import has_namespaces
from cluster.trial import results, run_trial
from conftest import ROOT, Experiment
from mixproof.ledger.store import Store


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
    trial = run_trial(box, spec, bucket, results(Store(experiment.store)), [fault], random.Random(1), span=3)  # noqa: S311
    assert trial.problems == ()
    assert trial.codes == (0,)
    assert box.objects.counts["dropped"] > 0


@pytest.mark.skipif(not has_namespaces(), reason="without root and `ip netns` all nodes see one file system")
def test_a_node_with_another_mixproof_is_refused_by_name(box: Box, remote: tuple[Path, str]) -> None:
    spec, bucket = remote
    other = box.folder / "other"
    shutil.copytree(ROOT / "pipeline", other, dirs_exist_ok=True)
    changed = other / "mixproof" / "pipeline" / "columns.py"
    changed.write_bytes(changed.read_bytes() + b"# another version\n")
    for node in box.workers:
        node.kill()
    box.start_worker(box.workers[0], mounts={ROOT / "pipeline": other})
    command = box.mixproof("build", spec, "--store", f"{bucket}/{uuid.uuid4().hex}")
    _, errors = command.communicate(timeout=300)
    assert command.returncode == 2
    assert "runs different code than this command: mixproof's code" in " ".join(errors.split())
    assert "Traceback" not in errors
