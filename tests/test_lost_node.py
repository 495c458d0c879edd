"""A machine of the cluster goes away while a build runs: the others do its work, and not one byte differs."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Experiment, environment, mixproof_command
from ray_nodes import free_port, kill_node, ray_node

Node = subprocess.Popen[bytes]


@pytest.fixture
def cluster_of_two(tmp_path: Path) -> Iterator[tuple[str, Node]]:
    """Address of a cluster whose head has one processor, and its other node, which has one as well."""
    port = free_port()
    head = ("--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false")
    with ray_node(tmp_path / "head.log", *head) as first:
        wait_for_text(tmp_path / "head.log", "Ray runtime started", first)
        with ray_node(tmp_path / "second.log", f"--address=127.0.0.1:{port}", "--num-cpus=1") as second:
            wait_for_text(tmp_path / "second.log", "Ray runtime started", second)
            yield f"127.0.0.1:{port}", second


def wait_for_text(log: Path, text: str, node: Node) -> None:
    end = time.monotonic() + 120
    while text not in log.read_text():
        assert node.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.2)


def test_a_build_goes_on_without_a_node_that_died(
    cluster_of_two: tuple[str, Node], experiment: Experiment, tmp_path: Path
) -> None:
    address, second = cluster_of_two
    store = tmp_path / "store"
    command = mixproof_command("build", experiment.spec, "--store", store, "--address", address, "--json")
    with (tmp_path / "build.err").open("wb") as errors:
        build = subprocess.Popen(
            command, env=environment() | {"RAY_AUTH_MODE": "disabled"}, stdout=subprocess.PIPE, stderr=errors
        )
    while not list(store.glob("read/*/receipt.json")):
        assert build.poll() is None, (tmp_path / "build.err").read_text()
        time.sleep(0.02)
    kill_node(second)
    output, _ = build.communicate(timeout=300)
    assert build.returncode == 0, (tmp_path / "build.err").read_text()
    assert json.loads(output)["build"] == experiment.result["build"]["build"]
