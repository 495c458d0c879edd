"""A node of the cluster in a box: how it starts, what can befall it, and what ends that."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from cluster.control_groups import free_memory, limit_memory
from cluster.namespaces import block, connect, disconnect, pids_in, slow_down, speed_up, unblock
from ray_nodes import BIN, free_port, without_own_mixproof

if TYPE_CHECKING:
    from cluster.box import Box

START_SECONDS = 120
MAX_STARTS = 5
"""How often a node is started before that counts as a failure."""
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

    def slow_down(self) -> None:
        """Let the node send little, and lose what it sends in addition."""
        slow_down(self.name)

    def speed_up(self) -> None:
        """End `slow_down`."""
        speed_up(self.name)

    def remove_copies(self) -> None:
        """Remove its copies of objects."""
        for copies in self.cache.iterdir():
            shutil.rmtree(copies, ignore_errors=True)

    def fill_disk(self, folder: Path) -> None:
        """Leave no byte free on a disk of the node, which must be a file system of its own."""
        assert folder.is_mount()
        self.must_restart |= folder != self.cache
        with contextlib.suppress(OSError), (folder / FILLER).open("wb") as filler:
            while True:
                filler.write(bytes(2**20))

    def write_protect(self, folder: Path) -> None:
        """Make a folder of a running node read-only until it starts again; files that are open stay writable."""
        if self.process is None or self.process.poll() is not None:
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
            end(process)
        _wait_for(running, seconds=60)  # Ray refuses to start a head beside what is left of another
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
        return [process for process in self._all() if name in title(process)]

    def _all(self) -> list[psutil.Process]:
        if self.box.isolated:
            found = []
            for pid in pids_in(self.name):
                with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                    found.append(psutil.Process(pid))
            return found
        if self.process is None or self.process.poll() is not None:
            return []
        return list(psutil.Process(self.process.pid).children(recursive=True))


def end(process: psutil.Process) -> None:
    """Kill a process, unless it has ended since it was listed."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def _wait_for(processes: Sequence[psutil.Process], seconds: float) -> None:
    """Wait until processes have ended; `psutil.wait_procs` would take a command's exit code from who has started it."""
    end = time.monotonic() + seconds
    while any(map(_runs, processes)) and time.monotonic() < end:
        time.sleep(0.05)


def _runs(process: psutil.Process) -> bool:
    """Whether a process has not ended; one that nobody has waited for yet has."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def title(process: psutil.Process) -> str:
    """A process's name and command; empty if it has just ended."""
    try:
        return f"{process.name()} {' '.join(process.cmdline())}"
    except psutil.Error:
        return ""
