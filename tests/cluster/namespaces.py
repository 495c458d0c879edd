"""Network namespaces: machines with addresses of their own on this one, connected by a bridge."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

INSIDE = "eth0"
LITTLE_TRAFFIC = "1mbit"
"""A second, that a slow link lets through."""
HOST = 254
"""Last number of the address of this machine in each network."""
NETWORKS = range(1, 5)
"""Numbers of the networks that can exist side by side on one machine."""


@dataclass(frozen=True)
class Network:
    """A network of namespaces on this machine."""

    number: int

    @property
    def bridge(self) -> str:
        """The link that connects them."""
        return f"mpbox{self.number}"

    def name(self, node: str) -> str:
        """The namespace of a node: no two networks have the same ones."""
        return f"mp{self.number}{node}"

    def address(self, host: int) -> str:
        """An address of the network."""
        return f"10.231.{self.number}.{host}"


def has_namespaces() -> bool:
    """Whether this process may create network namespaces."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"mixproof-probe-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return False
    return not subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False).returncode


@contextmanager
def network() -> Iterator[Network]:
    """A network whose bridge has this machine's address; waits while all NETWORKS are in use by other processes."""
    with _locked() as number:
        made = Network(number)
        subprocess.run(["ip", "link", "delete", made.bridge], capture_output=True, check=False)
        _ip("link", "add", made.bridge, "type", "bridge")
        try:
            _ip("addr", "add", f"{made.address(HOST)}/24", "dev", made.bridge)
            _ip("link", "set", made.bridge, "up")
            yield made
        finally:
            _ip("link", "delete", made.bridge)


@contextmanager
def _locked() -> Iterator[int]:
    """The number of a network that no other process has."""
    while True:
        for number in NETWORKS:
            with Path(f"/var/tmp/mixproof-box-{number}.lock").open("w") as lock:  # noqa: S108  for the whole machine
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield number
                return
        time.sleep(1)


@contextmanager
def namespace(name: str, address: str, bridge: str) -> Iterator[None]:
    """A network namespace whose only link goes to a bridge."""
    _remove(name)  # left by a test that was killed
    _ip("netns", "add", name)
    try:
        _ip("link", "add", _link(name), "type", "veth", "peer", "name", INSIDE, "netns", name)
        _ip("link", "set", _link(name), "master", bridge)
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


def block(name: str, address: str) -> None:
    """Drop what a namespace sends to one address."""
    _ip("-n", name, "route", "replace", "blackhole", f"{address}/32")


def unblock(name: str, address: str) -> None:
    """End `block`, also if it has ended already."""
    subprocess.run(
        ["ip", "-n", name, "route", "delete", "blackhole", f"{address}/32"], check=False, capture_output=True
    )


def slow_down(name: str) -> None:
    """Let a namespace send at most LITTLE_TRAFFIC; what does not fit in the queue of 400 ms is dropped."""
    limit = ["root", "tbf", "rate", LITTLE_TRAFFIC, "burst", "32kbit", "latency", "400ms"]
    subprocess.run(["tc", "-n", name, "qdisc", "replace", "dev", INSIDE, *limit], check=True, capture_output=True)


def speed_up(name: str) -> None:
    """End `slow_down`, also if it has ended already."""
    subprocess.run(["tc", "-n", name, "qdisc", "delete", "dev", INSIDE, "root"], check=False, capture_output=True)


def pids_in(name: str) -> list[int]:
    """Processes of a namespace."""
    listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listed.stdout.split()]


def _link(name: str) -> str:
    """The host's end of a namespace's link; names of links have at most 15 characters."""
    return f"veth-{name}"


def _remove(name: str) -> None:
    for pid in pids_in(name):
        os.kill(pid, signal.SIGKILL)
    for command in (["link", "delete", _link(name)], ["netns", "delete", name]):
        subprocess.run(["ip", *command], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
