"""Attempts: the scratch folder in which an output is written until it is committed, and how leftovers are cleaned up.

An attempt locks a file in its folder while its process lives; the operating system releases the lock when the process
ends, however it ends. The next attempt at the same key on the same machine can therefore tell a dead attempt from a
live one, and removes the dead one's folder. Folders left by another machine stay until `store gc` removes them by
age, because this machine cannot know whether that one is still running.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixproof.ledger.account import StageRow
from mixproof.ledger.content import PARQUET, content_sha256
from mixproof.ledger.files import find_files, inside, publish_together
from mixproof.ledger.fingerprint import plain, sha256_of_file

from .receipt import Receipt, StoredFile

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
    _remove_dead(attempts, f"{name}-")
    folder = f"{attempts}/{name}-{uuid.uuid4().hex}"
    files = Path(f"{folder}/{FILES}")
    os.makedirs(files)  # noqa: PTH103  Path would double the time that a small output takes; so below
    try:
        with open(f"{folder}/.{LOCK}", "w") as lock:  # noqa: PTH123
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.write(socket.gethostname())
            lock.flush()
            os.rename(f"{folder}/.{LOCK}", f"{folder}/{LOCK}")  # noqa: PTH104  others see the lock only once it is held
            yield files
    finally:
        _remove(folder)


def _remove_dead(attempts: Path, start: str) -> None:
    """Remove the scratch folders of dead attempts whose names begin with `start`."""
    try:
        names = [name for name in os.listdir(attempts) if name.startswith(start)]  # noqa: PTH208
    except FileNotFoundError:
        return
    for path in (attempts / name for name in names):
        if _is_dead(path / LOCK):
            LOGGER.info("removing the scratch folder of a dead attempt: %s", path)
            shutil.rmtree(path, ignore_errors=True)


def _remove(folder: str) -> None:
    """Remove a scratch folder, whose files have been published as a rule."""
    try:
        os.rmdir(f"{folder}/{FILES}")  # noqa: PTH106
        os.unlink(f"{folder}/{LOCK}")  # noqa: PTH108
        os.rmdir(folder)  # noqa: PTH106
    except OSError:
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


Pack = Callable[[str, Mapping[str, Path]], dict[str, StoredFile] | None]
"""Takes an output's key and its files by name into a pack; None: they are published in a folder of their own."""


class Attempt:
    """A scratch folder for one attempt at one output; `commit` publishes it as the output."""

    def __init__(
        self,
        store: Store,
        stage: str,
        key: str,
        scratch: Path,
        keep: Callable[[Receipt], None] | None = None,
        pack: Pack | None = None,
    ) -> None:
        self._store, self._stage, self._key, self._scratch = store, stage, key, scratch
        self._keep, self._pack = keep or store.write_receipt, pack

    def path(self, name: str) -> Path:
        """The path at which to write the file `name` of this output; its parent folder exists.

        Raises:
            DamagedFileError: when the name leads out of the output, as one from a manifest of another team may.
        """
        path = inside(self._scratch, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def commit(self, *, account: tuple[StageRow, ...] = (), facts: Mapping[str, object] | None = None) -> Receipt:
        """Publish every file of the scratch folder, then the receipt.

        Raises:
            TypeError: when `facts` holds a value without an exact form (see `fingerprint.py`).
        """
        written = {name: self._scratch / name for name in sorted(name for name, _ in find_files(self._scratch, ""))}
        files = None if self._pack is None else self._pack(self._key, written)
        receipt = Receipt(
            stage=self._stage,
            key=self._key,
            files=self._publish(written) if files is None else files,
            account=account,
            facts=_plain_facts(facts or {}),
        )
        self._keep(receipt)
        LOGGER.info("committed %s/%s with %d files", self._stage, self._key, len(written))
        return receipt

    def _publish(self, written: Mapping[str, Path]) -> dict[str, StoredFile]:
        """Publish the files of the scratch folder, by name."""
        files: dict[str, StoredFile] = {}
        folder = f"{self._stage}/{self._key}"
        for name, file in written.items():
            sha256 = sha256_of_file(file)
            rows = content_sha256(file) if file.suffix == PARQUET else sha256
            files[name] = StoredFile(
                sha256=sha256, bytes=file.stat().st_size, rows_sha256=rows if rows != sha256 else None
            )
        publish_together({str(file): f"{self._store.root}/{folder}/{name}" for name, file in written.items()})
        self._store.upload_all([f"{folder}/{name}" for name in files])
        return files


def _plain_facts(facts: Mapping[str, object]) -> dict[str, Any]:
    reduced = plain(facts)
    assert isinstance(reduced, dict)
    return reduced
