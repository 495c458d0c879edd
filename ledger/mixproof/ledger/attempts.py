"""Scratch folders: where an attempt writes its output until it is committed, and how leftovers are cleaned up.

An attempt locks a file in its folder while its process lives; the operating system releases the lock when the process
ends, however it ends. The next attempt at the same key on the same machine can therefore tell a dead attempt from a
live one, and removes the dead one's folder. Folders left by another machine stay until `store gc` removes them by
age, because this machine cannot know whether that one is still running.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ATTEMPTS = ".attempts"
LOCK = "lock"
FILES = "files"
LOGGER = logging.getLogger(__name__)


@contextmanager
def scratch_folder(root: Path, stage: str, key: str) -> Iterator[Path]:
    """Create an empty scratch folder below `root`, and remove it when the block ends, with or without an error.

    Args:
        root: the store's folder.
        stage: the output's stage.
        key: the output's key; folders of dead attempts at it are removed first.
    """
    attempts = root / ATTEMPTS
    name = f"{stage}-{key[:16]}"
    for path in attempts.iterdir() if attempts.is_dir() else ():  # a glob would compile an expression for each key
        if path.name.startswith(f"{name}-") and _is_dead(path / LOCK):
            LOGGER.info("removing the scratch folder of a dead attempt: %s", path)
            shutil.rmtree(path, ignore_errors=True)
    folder = attempts / f"{name}-{uuid.uuid4().hex}"
    (folder / FILES).mkdir(parents=True)
    try:
        with (folder / f".{LOCK}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.write(socket.gethostname())
            lock.flush()
            (folder / f".{LOCK}").rename(folder / LOCK)  # other attempts see the lock only once it is held
            yield folder / FILES
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_dead(lock: Path) -> bool:
    """Whether the process that holds this lock ran on this machine and has ended."""
    try:
        with lock.open() as file:
            if file.read() != socket.gethostname():
                return False
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        return False
    return True
