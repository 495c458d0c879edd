"""Scratch folders: where a try at an output writes until it is committed, and what becomes of those of killed commands.

A try holds a lock on a file in its folder for as long as its process lives; the system lets go of it when the process
ends, however it ends. So the next try at the same key on the same machine can tell a dead one from one that is still
at work, and removes what the dead one left. What another machine left stays until `store gc`, by age: whether that
machine is alive cannot be known from here.
"""

from __future__ import annotations

import fcntl
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ATTEMPTS = ".attempts"
LOCK = "lock"
FILES = "files"


@contextmanager
def scratch_folder(root: Path, stage: str, key: str) -> Iterator[Path]:
    """Make an empty folder for one try below `root`, and remove it at the end, whatever the end is.

    Args:
        root: the store's folder.
        stage: of the output.
        key: of the output; dead tries at it are removed first.
    """
    attempts = root / ATTEMPTS
    name = f"{stage}-{key[:16]}"
    for path in attempts.glob(f"{name}-*"):
        if _is_dead(path / LOCK):
            shutil.rmtree(path, ignore_errors=True)
    folder = attempts / f"{name}-{uuid.uuid4().hex}"
    (folder / FILES).mkdir(parents=True)
    try:
        with (folder / f".{LOCK}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.write(socket.gethostname())
            lock.flush()
            (folder / f".{LOCK}").rename(folder / LOCK)  # only now is it there to be tried
            yield folder / FILES
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_dead(lock: Path) -> bool:
    """Whether the process that made a lock on this machine has ended."""
    try:
        with lock.open() as file:
            if file.read() != socket.gethostname():
                return False
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        return False
    return True
