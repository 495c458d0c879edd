"""`ray job submit` against a running Ray with its job server: the upload runs, and gives the same build."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT, Experiment
from ray_nodes import BIN, free_port, ray_node, without_own_mixproof


@pytest.fixture(scope="module")
def job_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a head node with two processors and a job server of its own; stop it afterwards."""
    port = free_port()
    log = tmp_path_factory.mktemp("ray") / "head.log"
    with ray_node(log, "--head", f"--port={free_port()}", "--num-cpus=2", f"--dashboard-port={port}") as head:
        address = f"http://127.0.0.1:{port}"
        wait_until_it_answers(address, head, log)
        yield address


def wait_until_it_answers(address: str, head: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while True:
        assert head.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/api/version", timeout=5):  # noqa: S310  our own server
                return
        except OSError:
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.5)


def submit(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Submit a job and wait for its end; a head that has just started may have no agent for jobs yet."""
    end = time.monotonic() + 120
    while True:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=without_own_mixproof(),
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        if "No available agent" not in done.stderr + done.stdout or time.monotonic() > end:
            return done
        time.sleep(1)


def test_a_submitted_job_runs_the_upload_and_gives_the_same_build(
    job_server: str, experiment: Experiment, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    command = [BIN / "ray", "job", "submit", "--address", job_server, "--working-dir", ".", "--runtime-env"]
    command += ["runtime_env.yaml", "--", "python", "-m", "mixproof.cli", "build", experiment.spec, "--store", store]
    done = submit([*map(str, command), "--json"])
    assert done.returncode == 0, done.stdout + done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("{"))
    assert json.loads(line)["build"] == experiment.result["build"]["build"]
    circumstances = next(store.glob("builds/*/circumstances.json"))
    code = json.loads(circumstances.read_bytes())["code"]
    assert not code.startswith(str(ROOT)), "an installed copy ran, not the upload"


def test_a_job_without_a_store_is_refused_because_its_folder_is_deleted(
    job_server: str, experiment: Experiment
) -> None:
    command = [BIN / "ray", "job", "submit", "--address", job_server, "--working-dir", ".", "--runtime-env"]
    command += ["runtime_env.yaml", "--", "python", "-m", "mixproof.cli", "build", experiment.spec]
    done = submit([*map(str, command)])
    assert done.returncode == 1, done.stdout + done.stderr
    assert "--store" in done.stdout and "deleted with the job" in " ".join(done.stdout.split())
