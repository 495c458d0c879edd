"""A cluster in a box: a head, workers and an S3 server on this machine, started by `ray start` as on any cluster.

With root and `ip netns`, every node is a network namespace with an address, a Ray folder and a cache of its own: their
links can be cut, and a node's disk can be full. The checkout and the Python environment are
visible everywhere, as an image would be, unless a node mounts something else over them. Without root, the nodes are Ray
nodes of one address: processes can still be killed, links cannot be cut.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ray.job_submission import JobSubmissionClient

from cluster.flaky_objects import FlakyObjects, flaky
from cluster.namespaces import HOST, has_namespaces, namespace, network
from cluster.node import MAX_STARTS, START_SECONDS, Node
from conftest import ROOT, environment, mixproof_command
from object_store import pointed_at
from ray_nodes import BIN, free_port, without_own_mixproof

JOB_PORT = 8265
"""Where the head takes jobs."""


@dataclass
class Box:
    """A running cluster."""

    folder: Path
    isolated: bool
    """Whether nodes have networks and disks of their own."""
    variables: Mapping[str, str]
    """What a process needs to find the S3 server."""
    objects: FlakyObjects
    """Where it finds it."""
    address: str
    """What `--address` takes."""
    takes_jobs: bool
    """Whether the head runs Ray's job server."""
    head: Node = field(init=False)
    workers: list[Node] = field(default_factory=list)

    def start_head(self) -> None:
        """Start the head, which takes no tasks; wait until it takes jobs, if it does."""
        port = self.address.rpartition(":")[2]
        options = ["--head", f"--port={port}", "--num-cpus=0", f"--include-dashboard={str(self.takes_jobs).lower()}"]
        if self.takes_jobs:
            options += ["--dashboard-host=0.0.0.0", f"--dashboard-port={JOB_PORT}"]
        self.head.start(*options)
        if self.takes_jobs:
            self._wait_for_jobs()

    def _wait_for_jobs(self) -> None:
        """Submit an empty job until the head accepts it: it has no agent for jobs at first."""
        end = time.monotonic() + MAX_STARTS * START_SECONDS
        while True:
            try:
                JobSubmissionClient(self.job_address).submit_job(entrypoint="true")
                return
            except (ConnectionError, RuntimeError):
                assert time.monotonic() < end, "the head takes no jobs"
                time.sleep(1)

    def remove_copies(self) -> None:
        """Remove the workers' copies of objects, which would fill their disks trial after trial."""
        for node in self.workers:
            node.remove_copies()

    @property
    def job_address(self) -> str:
        """Where jobs are submitted."""
        return f"http://{self.head.address}:{JOB_PORT}"

    def start_worker(self, node: Node, mounts: Mapping[Path, Path] | None = None) -> None:
        """Start a worker with one CPU."""
        node.start(f"--address={self.address}", "--num-cpus=1", mounts=mounts)

    def mixproof(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a command on the head."""
        cache = {"RAY_AUTH_MODE": "disabled", "MIXPROOF_CACHE": str(self.head.cache)}
        command = mixproof_command(*arguments, "--address", self.address)
        return self._start(command, {**environment(), **self.variables, **cache})

    def submit(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Submit a command as a job; what this gives is its client, which follows the job to its end."""
        command: list[str | Path] = [BIN / "ray", "job", "submit", "--address", self.job_address, "--working-dir", ROOT]
        command += ["--runtime-env", ROOT / "runtime_env.yaml", "--", "python", "-m", "mixproof.cli", *arguments]
        return self._start(command, without_own_mixproof())

    def _start(self, command: Sequence[str | Path], variables: Mapping[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.head.command(*command),
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=self.folder,
        )


@contextmanager
def cluster_in_a_box(
    folder: Path, workers: int, disks: Mapping[int, str] | None = None, *, takes_jobs: bool = False
) -> Iterator[Box]:
    """Start a head, workers of one CPU each, and an S3 server that all of them and this process reach; stop everything.

    Args:
        folder: logs and the nodes' disks.
        workers: number of worker nodes.
        disks: by worker, from 0, the size of its cache, of Ray's disk and of /dev/shm, such as `40m`; others use this
            machine's.
        takes_jobs: start Ray's job server as well; needs namespaces.
    """
    isolated = has_namespaces()
    with ExitStack() as stack:
        own = stack.enter_context(network()) if isolated else None
        host = own.address(HOST) if own else "127.0.0.1"
        server, front = (host, free_port()), (host, free_port())
        stack.enter_context(_serve(folder, server))
        objects = stack.enter_context(flaky(front, server))
        stack.enter_context(pointed_at(_variables(front)))
        address = f"{own.address(1)}:6379" if own else f"{host}:{free_port()}"
        box = Box(folder, isolated, _variables(front), objects, address, takes_jobs)
        nodes = []
        for number, part in enumerate(["head", *(f"wrk{one}" for one in range(1, workers + 1))], start=1):
            name, address = (own.name(part), own.address(number)) if own else (part, host)
            if own:
                stack.enter_context(namespace(name, address, own.bridge))
            nodes.append(Node(name, address, _disk(stack, folder / name, (disks or {}).get(number - 2)), box))
            stack.callback(nodes[-1].kill)
        box.head, box.workers = nodes[0], nodes[1:]
        box.start_head()
        for node in box.workers:
            box.start_worker(node)
        yield box


def _variables(endpoint: tuple[str, int]) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": f"http://{endpoint[0]}:{endpoint[1]}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def _serve(folder: Path, address: tuple[str, int]) -> Iterator[None]:
    command = [sys.executable, "-m", "moto.server", "-H", address[0], "-p", str(address[1])]
    with (folder / "s3.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield
        finally:
            server.send_signal(signal.SIGKILL)
            server.wait()


def _disk(stack: ExitStack, folder: Path, size: str | None) -> Path:
    """A node's folder; with a size, its cache, Ray's folder and /dev/shm are file systems of their own."""
    for part in (folder / "ray", folder / "cache", folder / "shm"):
        part.mkdir(parents=True)
        if size is not None:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(part)], check=True)
            stack.callback(subprocess.run, ["umount", "--lazy", str(part)], check=False)
    return folder
