"""Faults that strike a cluster in a box while a command runs, and what puts the cluster right again."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from cluster.box import RAYLET, Box

LITTLE_BYTES = 150 * 2**20
RUNNING = 3
"""Seconds in which a task is waited for before a fault of workers strikes anyway."""


@dataclass(frozen=True)
class Strike:
    """A running command in a box, and the dice of a trial."""

    box: Box
    command: subprocess.Popen[str]
    dice: random.Random


def cut_link(seconds: float) -> Callable[[Strike], None]:
    """A worker's link is down for a while; its processes go on."""

    def strike(at: Strike) -> None:
        node = at.dice.choice(at.box.workers)
        node.cut()
        time.sleep(seconds)
        node.mend()

    return strike


def kill_raylet(at: Strike) -> None:
    """A worker node's own process dies, and its tasks with it."""
    for process in at.dice.choice(at.box.workers).processes(RAYLET):
        process.kill()


def kill_node(at: Strike) -> None:
    """A worker node loses its power."""
    at.dice.choice(at.box.workers).kill()


def kill_task(at: Strike) -> None:
    """The process that runs a task dies, as if the kernel had killed it for its memory."""
    end = time.monotonic() + RUNNING
    running: list[psutil.Process] = []
    while not running and time.monotonic() < end:
        running = [one for node in at.box.workers for one in node.processes("ray::") if "IDLE" not in one.name()]
    if running:
        at.dice.choice(running).kill()


def kill_command(at: Strike) -> None:
    """The command itself dies."""
    at.command.send_signal(signal.SIGKILL)
    for process in at.box.head.processes("mixproof.cli"):
        process.kill()


def kill_head(at: Strike) -> None:
    """The head dies with its state; the workers lose their cluster."""
    at.box.head.kill()


def kill_supervisor(at: Strike) -> None:
    """The process that watches a job of Ray dies; Ray ends the job."""
    for process in at.box.head.processes("JobSupervisor"):
        process.kill()


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
    node = at.dice.choice(at.box.workers)
    node.fill_disk(node.cache)


def fill_disk_of_ray(at: Strike) -> None:
    """The disk below a worker's /tmp/ray is full until `heal` empties it; the worker runs no more tasks."""
    node = at.dice.choice(at.box.workers)
    node.fill_disk(node.ray)


def wrong_clock(at: Strike) -> None:
    """S3 refuses a worker's requests, as those of a machine whose clock is an hour behind."""
    at.box.objects.wrong_clocks.add(at.dice.choice(at.box.workers).address)


def little_memory(at: Strike) -> None:
    """A worker gets little more memory than its processes have now; the kernel kills one of those that take more."""
    at.dice.choice(at.box.workers).limit_memory(LITTLE_BYTES)


FAULTS: dict[str, Callable[[Strike], None]] = {
    "a link is cut for 5 s": cut_link(5),
    "a link is cut for 60 s": cut_link(60),
    "a raylet dies": kill_raylet,
    "a node dies": kill_node,
    "a task's process dies": kill_task,
    "the command dies": kill_command,
    "the head dies": kill_head,
    "a cache's disk is full": fill_disk,
    "Ray's disk is full": fill_disk_of_ray,
    "a clock is an hour off": wrong_clock,
    "memory is short": little_memory,
    "S3 answers 503": flaky_objects("unavailable", 0.3),
    "S3 is slow": flaky_objects("slow", 0.2),
    "S3 drops connections": flaky_objects("dropped", 0.2),
}

FAULTS_OF_JOBS = FAULTS | {"the job's supervisor dies": kill_supervisor}
"""What can befall a job of Ray."""


def heal(box: Box) -> None:
    """Start again what died."""
    box.objects.fault = "none"
    box.objects.wrong_clocks.clear()
    for node in box.workers:
        node.free_memory()
        if node.empty_disks():
            node.kill()
    if not box.head.runs("gcs_server"):
        for node in (*box.workers, box.head):
            node.kill()
        box.start_head()
    for node in box.workers:
        if not node.runs(RAYLET):
            node.kill()
            box.start_worker(node)
