"""Faults that strike a cluster in a box while a command runs, and what puts the cluster right again."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from cluster.box import Box
from cluster.node import RAY_FOLDER, RAYLET, Node, end, title
from cluster.other_code import Install, another_mixproof, another_pyarrow

LITTLE_BYTES = 150 * 2**20
TASK = "ray::"
"""In the title of a process that runs tasks, and of these, which do not:"""
NO_TASKS = ("IDLE", "Agent")
HEAD = "gcs_server"
"""The same for the process of the head that keeps the cluster's state."""
SHORT = 5
"""Seconds for which Ray waits for a node in any case."""
SECOND = 900
"""Seconds after which a second command hangs."""
RUNNING = 3
"""Seconds in which a task is waited for before a fault of workers strikes anyway."""


@dataclass(frozen=True)
class Strike:
    """A running command in a box, and the dice of a trial."""

    box: Box
    command: subprocess.Popen[str]
    dice: random.Random
    spared: int = 1
    """How many workers meet no fault that only `heal` ends: without them, the command would wait for other nodes."""
    again: Callable[[], subprocess.Popen[str]] | None = None
    """Starts the same command a second time."""
    logs: list[str] = field(default_factory=list)
    """What second commands said, to people and to programs."""

    def worker(self, *, for_good: bool = False) -> Node:
        """A worker that runs, if any does; `for_good`: for a fault that only `heal` ends, or that Ray takes for one."""
        workers = self.box.workers[: -self.spared] if for_good else self.box.workers
        return self.dice.choice([node for node in workers if node.runs(RAYLET)] or workers)


def cut_link(seconds: float) -> Callable[[Strike], None]:
    """A worker's link is down for a while; its processes go on."""

    def strike(at: Strike) -> None:
        node = at.worker(for_good=seconds > SHORT)
        node.cut()
        time.sleep(seconds)
        node.mend()

    return strike


def flap_link(at: Strike) -> None:
    """A worker's link is down for one of three seconds, for half a minute."""
    node = at.worker(for_good=True)
    for _ in range(10):
        node.cut()
        time.sleep(1)
        node.mend()
        time.sleep(2)


def slow_link(at: Strike) -> None:
    """A worker sends at most a megabit a second for half a minute; more of its packets are lost."""
    node = at.worker(for_good=True)
    node.slow_down()
    time.sleep(30)
    node.speed_up()


def kill_raylet(at: Strike) -> None:
    """A worker node's own process dies, and its tasks with it."""
    for process in at.worker(for_good=True).processes(RAYLET):
        end(process)


def kill_node(at: Strike) -> None:
    """A worker node loses its power."""
    at.worker(for_good=True).kill()


def kill_task(at: Strike) -> None:
    """The process that runs a task dies, as if the kernel had killed it for its memory."""
    if running := _wait_for_tasks(at):
        end(at.dice.choice(running))


def _wait_for_tasks(at: Strike) -> list[psutil.Process]:
    """The processes that run tasks; none if that takes more than RUNNING seconds."""
    end = time.monotonic() + RUNNING
    while time.monotonic() < end:
        if running := [one for node in at.box.workers for one in tasks_on(node)]:
            return running
    return []


def tasks_on(node: Node) -> list[psutil.Process]:
    """The processes of a node that run tasks."""
    return [one for one in node.processes(TASK) if not any(word in title(one) for word in NO_TASKS)]


def stop_for(seconds: float, name: str) -> Callable[[Strike], None]:
    """A process stops for a while and then continues, as on a machine that is swapping or was paused."""

    def strike(at: Strike) -> None:
        if name == HEAD:
            running = at.box.head.processes(HEAD)
        else:
            running = _wait_for_tasks(at) if name == TASK else at.worker(for_good=True).processes(name)
        chosen = [at.dice.choice(running)] if running else []
        for process in chosen:
            process.suspend()
        time.sleep(seconds)
        for process in chosen:
            with contextlib.suppress(psutil.Error):
                process.resume()

    return strike


def block_head(at: Strike) -> None:
    """A worker reaches S3 and the other workers, but not the head, for 60 s."""
    node = at.worker(for_good=True)
    node.block(at.box.head)
    time.sleep(60)
    node.unblock(at.box.head)


def kill_command(at: Strike) -> None:
    """The command itself dies."""
    at.command.send_signal(signal.SIGKILL)
    for process in at.box.head.processes("mixproof.cli"):
        end(process)


def run_again(at: Strike) -> None:
    """The same command runs a second time on the same store, as when somebody starts it in another terminal."""
    assert at.again is not None
    second = at.again()
    try:
        output, errors = second.communicate(timeout=SECOND)
    except subprocess.TimeoutExpired:
        second.kill()
        output, errors = second.communicate()
        errors += f"\nhung for {SECOND} s"
    at.logs.append(output + errors)


def kill_head(at: Strike) -> None:
    """The head dies with its state; the workers lose their cluster."""
    at.box.head.kill()


def kill_supervisor(at: Strike) -> None:
    """The process that watches a job of Ray dies; Ray ends the job."""
    for process in at.box.head.processes("JobSupervisor"):
        end(process)


def flaky_objects(fault: str, share: float) -> Callable[[Strike], None]:
    """The S3 server misbehaves for some requests, for ten seconds."""

    def strike(at: Strike) -> None:
        at.box.objects.share = share
        at.box.objects.fault = fault  # type: ignore[assignment]
        time.sleep(10)
        at.box.objects.fault = "none"

    return strike


def fill_disk(at: Strike) -> None:
    """The disk of a worker's cache is full until `heal` empties it."""
    node = at.worker(for_good=True)
    node.fill_disk(node.cache)


def fill_disk_of_ray(at: Strike) -> None:
    """The disk below a worker's /tmp/ray is full until `heal` empties it; the worker runs no more tasks."""
    node = at.worker(for_good=True)
    node.fill_disk(node.ray)


def fill_shared_memory(at: Strike) -> None:
    """The /dev/shm of a worker is full until `heal` empties it."""
    node = at.worker(for_good=True)
    node.fill_disk(node.shared_memory)


def write_protect_ray(at: Strike) -> None:
    """A worker's /tmp/ray is read-only, as after an error of its disk, until `heal` starts it again."""
    node = at.worker(for_good=True)
    node.write_protect(RAY_FOLDER)


def write_protect_cache(at: Strike) -> None:
    """A worker's copies of objects are read-only until `heal` starts it again."""
    node = at.worker(for_good=True)
    node.write_protect(node.cache)


def remove_copies(at: Strike) -> None:
    """A worker's copies of objects vanish while its tasks run, as on a machine that empties its temporary folders."""
    at.worker().remove_copies()


def limit_files(at: Strike) -> None:
    """A worker's processes may open few files until `heal` starts it again."""
    at.worker(for_good=True).limit_files()


def wrong_clock(at: Strike) -> None:
    """S3 refuses a worker's requests, as those of a machine whose clock is an hour behind."""
    at.box.objects.wrong_clocks.add(at.worker(for_good=True).address)


def little_memory(at: Strike) -> None:
    """A worker gets little more memory than its processes have now; the kernel kills one of those that take more."""
    at.worker(for_good=True).limit_memory(LITTLE_BYTES)


def join_with(install: Install) -> Callable[[Strike], None]:
    """A worker node dies, and one with other code joins in its place until `heal` starts the first one again."""

    def strike(at: Strike) -> None:
        node = at.worker(for_good=True)
        node.kill()
        folder = at.box.folder / f"{install.__name__}-{uuid.uuid4().hex[:6]}"
        with contextlib.suppress(AssertionError):  # the head has died meanwhile
            at.box.start_worker(node, mounts={install(folder): folder})
        node.must_restart = True

    return strike


FAULTS: dict[str, Callable[[Strike], None]] = {
    "a link is cut for 5 s": cut_link(5),
    "a link is cut for 60 s": cut_link(60),
    "a link comes and goes": flap_link,
    "a link is slow": slow_link,
    "a raylet dies": kill_raylet,
    "a node dies": kill_node,
    "a task's process dies": kill_task,
    "a raylet stops for 90 s": stop_for(90, RAYLET),
    "a task stops for 90 s": stop_for(90, TASK),
    "the head stops for 90 s": stop_for(90, HEAD),
    "a worker cannot reach the head": block_head,
    "the command dies": kill_command,
    "the command runs twice": run_again,
    "the head dies": kill_head,
    "a cache's disk is full": fill_disk,
    "Ray's disk is full": fill_disk_of_ray,
    "Ray's disk is read-only": write_protect_ray,
    "a cache's disk is read-only": write_protect_cache,
    "a cache is emptied": remove_copies,
    "shared memory is full": fill_shared_memory,
    "few files may be open": limit_files,
    "a clock is an hour off": wrong_clock,
    "memory is short": little_memory,
    "a node joins with another pyarrow": join_with(another_pyarrow),
    "a node joins with another mixproof": join_with(another_mixproof),
    "S3 answers 503": flaky_objects("unavailable", 0.3),
    "S3 is slow": flaky_objects("slow", 0.2),
    "S3 drops connections": flaky_objects("dropped", 0.2),
    "S3 answers 500": flaky_objects("broken", 0.3),
    "S3 sends half objects": flaky_objects("short", 0.2),
    "S3 flips bits": flaky_objects("flipped", 0.2),
    "S3 misses objects": flaky_objects("missing", 0.2),
    "S3 lists what was": flaky_objects("stale", 0.5),
    "credentials expire": flaky_objects("expired", 1),
}

FAULTS_OF_JOBS = FAULTS | {"the job's supervisor dies": kill_supervisor}
"""What can befall a job of Ray."""
FAULTS_IN_A_FOLDER = {
    name: fault
    for name, fault in FAULTS.items()
    if not any(word in name for word in ("S3", "cache", "clock", "credentials"))
}
"""What can befall a command whose store is a folder."""


def heal(box: Box) -> None:
    """Start again what died."""
    box.objects.fault = "none"
    box.objects.wrong_clocks.clear()
    for node in box.workers:
        node.free_memory()
        if node.must_restart:
            node.kill()
        node.empty_disks()
    if not box.head.runs(HEAD):
        for node in (*box.workers, box.head):
            node.kill()
        box.start_head()
    for node in box.workers:
        if not node.runs(RAYLET):
            node.kill()
            box.start_worker(node)
