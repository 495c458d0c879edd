"""A cluster that scales: nodes come from zero when tasks need them, and go when they are idle.

Ray's own local provider makes the nodes on this machine; the GPUs among their resources are names only.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from conftest import ROOT, environment
from ray_nodes import free_port, ray_node

SETTINGS = {
    "cluster_name": "scaling",
    "max_workers": 2,
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 0.05,
    "auth": {},
    "docker": {},
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "min_workers": 0, "max_workers": 0},
        "documents": {"resources": {"CPU": 2}, "node_config": {}, "min_workers": 0, "max_workers": 1},
        "proxies": {
            "resources": {"CPU": 1, "GPU": 8},
            "labels": {"mixproof-tasks": "gpu"},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 1,
        },
    },
    "file_mounts": {},
    "cluster_synced_files": [],
    "file_mounts_sync_continuously": False,
    "rsync_exclude": [],
    "rsync_filter": [],
    "initialization_commands": [],
    "setup_commands": [],
    "head_setup_commands": [],
    "worker_setup_commands": [],
    "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
}


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A head that takes no tasks, with an autoscaler; no worker yet."""
    monkeypatch.setenv("AUTOSCALER_UPDATE_INTERVAL_S", "1")
    monkeypatch.setenv("RAY_FAKE_CLUSTER", "1")
    monkeypatch.setenv("RAY_enable_autoscaler_v2", "1")
    monkeypatch.setenv("RAY_CLOUD_INSTANCE_ID", FAKE_HEAD_NODE_ID)
    monkeypatch.setenv("RAY_OVERRIDE_NODE_ID_FOR_TESTING", FAKE_HEAD_NODE_ID)
    port = free_port()
    provider = {
        "type": "external",  # its own type needs a file that Ray's wheels lack
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "gcs_address": f"127.0.0.1:{port}",
        "launch_multiple": True,
        "head_node_id": FAKE_HEAD_NODE_ID,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    }
    config = tmp_path / "autoscaling.json"
    config.write_text(json.dumps(SETTINGS | {"provider": provider}))
    head = ("--head", f"--port={port}", "--num-cpus=0", f"--autoscaling-config={config}", "--include-dashboard=false")
    with ray_node(tmp_path / "head.log", *head) as node:
        end = time.monotonic() + 120
        while "Ray runtime started" not in (text := (tmp_path / "head.log").read_text()):
            assert node.poll() is None and time.monotonic() < end, text
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"


@pytest.mark.slow
def test_documents_and_proxies_scale_from_zero_and_back_and_a_node_that_cannot_come_is_named(address: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "cluster" / "scaling.py", address],
        env=environment() | {"RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["numbers"] == list(range(8))
    assert found["nodes_of_documents"] == 1
    assert found["proxy_has_a_node_of_its_own"]
    assert found["workers_when_idle"] == 0
    assert "large proxy: " in found["warning"]
    assert "the smallest task needs a node with 1 CPUs and 64 GPUs" in found["warning"]
