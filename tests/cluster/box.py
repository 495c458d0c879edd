"""A cluster in a box: a head, workers and an S3 server on this machine, started by `ray start` as on any cluster.

With root and `ip netns`, every node is a network namespace with an address, a Ray folder and a cache of its own: their
links can be cut, and a node's disk can be full. The checkout and the Python environment are
visible everywhere, as an image would be, unless a node mounts something else over them. Without root, the nodes are Ray
nodes of one address: processes can still be killed, links cannot be cut.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from ray.job_submission import JobSubmissionClient

from cluster.control_groups import free_memory, limit_memory
from cluster.flaky_objects import FlakyObjects, flaky
from cluster.namespaces import HOST, block, connect, disconnect, has_namespaces, namespace, network, pids_in, unblock
from conftest import ROOT, environment, mixproof_command
from object_store import pointed_at
from ray_nodes import BIN, free_port, without_own_mixproof

START_SECONDS = 120
MAX_STARTS = 5
"""How often a node is started before that counts as a failure."""
JOB_PORT = 8265
"""Where the head takes jobs."""
FILLER = "filler"
RAYLET = "raylet/raylet"
"""In the title of the process that is Ray on a node."""
PATIENCE = {"RAY_raylet_start_wait_time_s": str(START_SECONDS), "RAY_worker_niceness": "0"}
"""Ray gives a node 30 s to start, and its workers what other programs leave; on a busy machine, both are little."""
RAY_FOLDER = Path("/tmp/ray")  # noqa: S108  where Ray keeps what a node's processes share
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  where Ray keeps tasks' results
FEW_FILES = 256
"""As many files as a process may have open by default on some systems."""


@dataclass
class Node:
    """One machine of the cluster."""

    name: str
    address: str
    tmp: Path
    """The node's own folder, with Ray's files and the cache; both may have disks of their own."""
    box: Box = field(repr=False)
    process: subprocess.Popen[bytes] | None = None
    log: Path = field(init=False, repr=False)
    """What `ray start` wrote when the node started last."""
    must_restart: bool = field(default=False, repr=False)
    """Whether a fault left Ray's processes in a state that does not end with it."""

    @property
    def cache(self) -> Path:
        """Where its copies of objects are."""
        return self.tmp / "cache"

    @property
    def ray(self) -> Path:
        """Where Ray's sockets and logs are."""
        return self.tmp / "ray"

    @property
    def shared_memory(self) -> Path:
        """Its /dev/shm, if it has disks of its own."""
        return self.tmp / "shm"

    def command(self, *command: str | Path, mounts: Mapping[Path, Path] | None = None) -> list[str]:
        """A command with the node's network and Ray folder; `mounts` puts folders over others, for it alone."""
        if not self.box.isolated:
            return [str(part) for part in command]
        RAY_FOLDER.mkdir(exist_ok=True)
        own_memory = {SHARED_MEMORY: self.shared_memory} if self.shared_memory.is_mount() else {}
        bound = {RAY_FOLDER: self.ray} | own_memory | dict(mounts or {})
        script = " && ".join(f'mount --bind "{folder}" "{over}"' for over, folder in bound.items())
        script = f'hostname {self.name} && {script} && exec "$@"'
        return ["ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", script, "sh", *map(str, command)]

    def start(self, *arguments: str, mounts: Mapping[Path, Path] | None = None) -> None:
        """Run `ray start`, and wait until the node has joined.

        A raylet that waits 15 s in vain for its agents dies, and `ray start` does not notice; it is run again.
        """
        for _ in range(MAX_STARTS):
            self._start(arguments, mounts)
            if self._joins():
                return
            self.kill()
        raise AssertionError(self.log.read_text())

    def _start(self, arguments: Sequence[str], mounts: Mapping[Path, Path] | None) -> None:
        self.log = self.box.folder / f"{self.name}-{uuid.uuid4().hex[:6]}.log"
        start: list[str | Path] = [BIN / "ray", "start", "--block", "--disable-usage-stats"]
        start += [f"--node-ip-address={self.address}", "--object-store-memory=100000000"]
        start += [f"--dashboard-agent-listen-port={free_port()}"]
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                self.command(*start, *arguments, mounts=mounts),
                env={**without_own_mixproof(), **self.box.variables, "MIXPROOF_CACHE": str(self.cache), **PATIENCE},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _joins(self) -> bool:
        """Wait until the node has joined, or its raylet or `ray start` has ended."""
        has_raylet = False
        while "Ray runtime started" not in self.log.read_text():
            if has_raylet and not self.runs(RAYLET):
                return False
            has_raylet = has_raylet or self.runs(RAYLET)
            if self.process is None or self.process.poll() is not None:
                return False
            time.sleep(0.5)
        return True

    def cut(self) -> None:
        """Take the node's link down: packets are lost in both directions."""
        disconnect(self.name)

    def mend(self) -> None:
        """Take the node's link up again."""
        connect(self.name)

    def block(self, other: Node) -> None:
        """Drop what this node sends to another one."""
        block(self.name, other.address)

    def unblock(self, other: Node) -> None:
        """End `block`."""
        unblock(self.name, other.address)

    def fill_disk(self, folder: Path) -> None:
        """Leave no byte free on a disk of the node, which must be a file system of its own."""
        assert folder.is_mount()
        self.must_restart |= folder != self.cache
        with contextlib.suppress(OSError), (folder / FILLER).open("wb") as filler:
            while True:
                filler.write(bytes(2**20))

    def write_protect(self, folder: Path) -> None:
        """Make a folder of a running node read-only until it starts again; files that are open stay writable."""
        if self.process is None:
            return
        self.must_restart = True
        script = f'mount --bind "{folder}" "{folder}" && mount -o remount,bind,ro "{folder}"'
        subprocess.run(["nsenter", "--mount", f"--target={self.process.pid}", "sh", "-c", script], check=True)

    def limit_files(self) -> None:
        """Let each of the node's processes open FEW_FILES files."""
        self.must_restart = True
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.rlimit(psutil.RLIMIT_NOFILE, (FEW_FILES, FEW_FILES))

    def empty_disks(self) -> None:
        """Give back what `fill_disk` took."""
        for folder in (self.cache, self.ray, self.shared_memory):
            (folder / FILLER).unlink(missing_ok=True)

    def limit_memory(self, more: int) -> None:
        """Give the node's processes as much memory as they have now and `more` bytes."""
        limit_memory(self.name, [process.pid for process in self.processes()], more)

    def free_memory(self) -> None:
        """End the limit."""
        free_memory(self.name)

    def kill(self) -> None:
        """End all of the node's processes, as a machine ends that loses its power."""
        running = self.processes()
        for process in running:
            process.kill()
        psutil.wait_procs(running, timeout=60)  # Ray refuses to start a head beside what is left of another
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=60)
            self.process = None
        self.must_restart = False

    def runs(self, name: str) -> bool:
        """Whether `ray start` has not ended and a process with this name runs."""
        return self.process is not None and self.process.poll() is None and bool(self.processes(name))

    def processes(self, name: str = "") -> list[psutil.Process]:
        """The node's running processes whose name or command contains `name`."""
        return [process for process in self._all() if name in _title(process)]

    def _all(self) -> list[psutil.Process]:
        if self.box.isolated:
            return [psutil.Process(pid) for pid in pids_in(self.name) if psutil.pid_exists(pid)]
        if self.process is None or self.process.poll() is not None:
            return []
        return list(psutil.Process(self.process.pid).children(recursive=True))


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


def _title(process: psutil.Process) -> str:
    try:
        return f"{process.name()} {' '.join(process.cmdline())}"
    except psutil.Error:  # it has just ended
        return ""
