"""Network namespaces: machines with addresses of their own on this one, connected by a bridge."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BRIDGE = "mpbox0"
INSIDE = "eth0"
LOCK = Path("/var/tmp/mixproof-box.lock")  # noqa: S108  shared by all tests of this machine


def has_namespaces() -> bool:
    """Whether this process may create network namespaces."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"mixproof-probe-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return False
    return not subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False).returncode


@contextmanager
def bridge(address: str) -> Iterator[str]:
    """A bridge with the host's address; its name. One at a time on a machine: others wait."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield from _bridge(address)


def _bridge(address: str) -> Iterator[str]:
    subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)
    _ip("link", "add", BRIDGE, "type", "bridge")
    try:
        _ip("addr", "add", f"{address}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        yield BRIDGE
    finally:
        _ip("link", "delete", BRIDGE)


@contextmanager
def namespace(name: str, address: str, switch: str) -> Iterator[None]:
    """A network namespace whose only link goes to a bridge."""
    _remove(name)  # left by a test that was killed
    _ip("netns", "add", name)
    try:
        _ip("link", "add", _link(name), "type", "veth", "peer", "name", INSIDE, "netns", name)
        _ip("link", "set", _link(name), "master", switch)
        connect(name)
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", INSIDE)
        _ip("-n", name, "link", "set", INSIDE, "up")
        yield
    finally:
        _remove(name)


def connect(name: str) -> None:
    """Take a namespace's link up."""
    _ip("link", "set", _link(name), "up")


def disconnect(name: str) -> None:
    """Take a namespace's link down."""
    _ip("link", "set", _link(name), "down")


def pids_in(name: str) -> list[int]:
    """Processes of a namespace."""
    listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listed.stdout.split()]


def _link(name: str) -> str:
    """The host's end of a namespace's link; names of links have at most 15 characters."""
    return f"mp-{name[-6:]}"


def _remove(name: str) -> None:
    for pid in pids_in(name):
        os.kill(pid, signal.SIGKILL)
    for command in (["link", "delete", _link(name)], ["netns", "delete", name]):
        subprocess.run(["ip", *command], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
