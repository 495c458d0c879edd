"""Attempts: the scratch folder in which an output is written until it is committed, and how leftovers are cleaned up.

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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixproof.ledger.account import StageRow
from mixproof.ledger.content import content_sha256
from mixproof.ledger.files import publish
from mixproof.ledger.fingerprint import plain, sha256_of_file

from .receipt import RECEIPT, Receipt, StoredFile

if TYPE_CHECKING:
    from .store import Store

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


class Attempt:
    """A scratch folder for one attempt at one output; `commit` publishes it as the output."""

    def __init__(self, store: Store, stage: str, key: str, scratch: Path) -> None:
        self._store, self._stage, self._key, self._scratch = store, stage, key, scratch

    def path(self, name: str) -> Path:
        """The path at which to write the file `name` of this output; its parent folder exists."""
        path = self._scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def commit(self, *, account: tuple[StageRow, ...] = (), facts: Mapping[str, object] | None = None) -> Receipt:
        """Publish every file of the scratch folder, then the receipt.

        Raises:
            TypeError: when `facts` holds a value without an exact form (see `fingerprint.py`).
        """
        files: dict[str, StoredFile] = {}
        folder = f"{self._stage}/{self._key}"
        for file in sorted(path for path in self._scratch.rglob("*") if path.is_file()):
            name = file.relative_to(self._scratch).as_posix()
            sha256, content = sha256_of_file(file), content_sha256(file)
            rows = content if content != sha256 else None
            files[name] = StoredFile(sha256=sha256, bytes=file.stat().st_size, rows_sha256=rows)
            publish(file, self._store.root / folder / name)
            self._store.upload(f"{folder}/{name}", confirmed=True)
        receipt = Receipt(
            stage=self._stage, key=self._key, files=files, account=account, facts=_plain_facts(facts or {})
        )
        self._store.write(f"{folder}/{RECEIPT}", receipt.to_bytes())
        LOGGER.info("committed %s with %d files", folder, len(files))
        return receipt


def _plain_facts(facts: Mapping[str, object]) -> dict[str, Any]:
    reduced = plain(facts)
    assert isinstance(reduced, dict)
    return reduced
