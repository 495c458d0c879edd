"""Nodes of a Ray cluster on this machine, each with processes of its own, as `ray start` starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def without_own_mixproof() -> dict[str, str]:
    """No PYTHONPATH of the checkout and no token file: only the job's own environment may find the code."""
    names = ("PYTHONPATH", "RAY_ADDRESS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    return environment | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


@contextmanager
def ray_node(log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A node, killed afterwards with everything that it has started."""
    command = [str(BIN / "ray"), "start", "--block", "--disable-usage-stats", *arguments]
    # Without a port of its own the agent that starts jobs shares one with every other Ray of this machine.
    command += [f"--dashboard-agent-listen-port={free_port()}"]
    with log.open("w") as output:
        node = subprocess.Popen(
            command, env=without_own_mixproof(), stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield node
    finally:
        kill_node(node)


def kill_node(node: subprocess.Popen[bytes]) -> None:
    """End a node as a machine ends that loses its power; asked to end, it takes half a minute."""
    if node.poll() is None:
        for process in [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]:
            process.kill()
    node.wait(timeout=60)
