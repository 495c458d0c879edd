"""What a command of mixproof takes: CPU seconds and memory of all its processes, wall time, and room in its store."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

BLOCK_BYTES = 512
"""Of `st_blocks` (POSIX)."""
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Cost:
    """What one command took, and what the store held afterwards."""

    cpu_seconds: float
    wall_seconds: float
    driver_bytes: int
    """Peak memory of the command's own process."""
    worker_bytes: int
    """Peak memory of its largest worker."""
    store_files: int
    store_folders: int
    store_bytes: int
    answer: dict[str, Any]
    """What it printed as JSON."""


class ProcessUse:
    """CPU seconds and peak memory of all processes below this one while the block runs.

    Ray does not wait for its workers, so the kernel adds their time to nobody's. They are looked up ten times a second
    instead, and the last 0.1 s of each are missed. Processes whose parent has ended become children of this one.
    """

    def __init__(self) -> None:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._seconds: dict[tuple[int, float], float] = {}
        self._before = {(process.pid, process.create_time()) for process in psutil.Process().children(recursive=True)}
        """Those that an earlier command has left and that have not ended yet; they are not counted."""
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.worker_bytes = 0
        self.driver_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """User and system time."""
        return sum(self._seconds.values())

    def _watch(self) -> None:
        while not self._is_over.wait(0.1):
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    known = (process.pid, process.create_time())
                    if known in self._before:
                        continue
                    used = process.cpu_times()
                    self._seconds[known] = used.user + used.system
                    command = process.cmdline()
                    if any("mixproof.cli" in each for each in command):
                        self.driver_bytes = max(self.driver_bytes, process.memory_info().rss)
                    elif command and command[0].startswith("ray::"):
                        self.worker_bytes = max(self.worker_bytes, process.memory_info().rss)


def cost_of(store: Path, *arguments: str) -> Cost:
    """Run a command of mixproof with `--json` on a store, and wait for every process that it leaves behind.

    Raises:
        SystemExit: when it fails.
    """
    start = time.monotonic()
    command = [sys.executable, "-m", "mixproof.cli", *arguments, "--store", str(store), "--json"]
    with ProcessUse() as use:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall = time.monotonic() - start
    if done.returncode:
        sys.exit(done.stderr)
    files, folders, size = _size_of(store)
    return Cost(use.seconds, wall, use.driver_bytes, use.worker_bytes, files, folders, size, json.loads(done.stdout))


def _size_of(store: Path) -> tuple[int, int, int]:
    files = folders = size = 0
    for folder, inner, names in os.walk(store):
        files, folders = files + len(names), folders + len(inner)
        size += sum(os.stat(f"{folder}/{name}").st_blocks * BLOCK_BYTES for name in (*names, *inner))  # noqa: PTH116  a million files
    return files, folders, size


HEADER = (
    f"{'':<22} {'CPU s':>8} {'wall s':>8} {'stages':>8} {'driver MB':>9} {'worker MB':>9} {'in store':>10} "
    f"{'folders':>9} {'MB':>8}"
)


def line_of(name: str, cost: Cost) -> str:
    """One line of a table under HEADER."""
    return (
        f"{name:<22} {cost.cpu_seconds:>8.1f} {cost.wall_seconds:>8.1f} {cost.answer.get('stages_run', 0):>8,} "
        f"{cost.driver_bytes / 1e6:>9,.0f} {cost.worker_bytes / 1e6:>9,.0f} {cost.store_files:>10,} "
        f"{cost.store_folders:>9,} {cost.store_bytes / 1e6:>8,.1f}  load {os.getloadavg()[0]:.1f}"
    )
