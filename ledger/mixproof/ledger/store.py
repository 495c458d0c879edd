"""The content-addressed store: every output under `<stage>/<key>/`, its receipt written last.

A stage's output is done when its receipt is there and each file has the recorded size; nothing else
counts. Files are written under an attempt-unique folder, fsynced and renamed, then the folder is
fsynced, then the receipt goes the same way, so a kill at any moment leaves either a finished output or
one that is made again. Two attempts at one key write the same bytes, so it does not matter which of them
wins. A store is named by a path or a URL; only local folders are written so far.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from .account import StageRow
from .errors import NotBuiltYetError
from .fingerprint import canonical_json, plain, sha256_of_file

RECEIPT = "receipt.json"
ATTEMPTS = ".attempts"


class StoredFile(BaseModel):
    """One file of an output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    bytes: int


class Receipt(BaseModel):
    """The record beside an output: what it is made of, what was done, what came out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    key: str
    files: dict[str, StoredFile]
    account: tuple[StageRow, ...] = ()
    facts: dict[str, Any] = {}
    """Small numbers and names that later stages need without opening the files; plain JSON."""


class Attempt:
    """A scratch folder for one try at one output; becomes the output when it is committed."""

    def __init__(self, store: Store, stage: str, key: str, scratch: Path) -> None:
        self._store, self._stage, self._key, self._scratch = store, stage, key, scratch

    def path(self, name: str) -> Path:
        """Where to write the file `name` of this output."""
        return self._scratch / name

    def commit(self, *, account: tuple[StageRow, ...] = (), facts: Mapping[str, object] | None = None) -> Receipt:
        """Publish every file of the scratch folder, then the receipt.

        Raises:
            TypeError: when `facts` holds something without an exact spelling.
        """
        files: dict[str, StoredFile] = {}
        folder = self._store.root / self._stage / self._key
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(path for path in self._scratch.rglob("*") if path.is_file()):
            name = file.relative_to(self._scratch).as_posix()
            files[name] = StoredFile(sha256=sha256_of_file(file), bytes=file.stat().st_size)
            publish(file, folder / name)
        receipt = Receipt(
            stage=self._stage, key=self._key, files=files, account=account, facts=_plain_facts(facts or {})
        )
        scratch = self._scratch / RECEIPT
        scratch.write_bytes(canonical_json(receipt.model_dump(mode="json")))
        publish(scratch, folder / RECEIPT)
        return receipt


class Store:
    """A store by its path or URL. Cheap to make and to pickle: it holds nothing but its place."""

    def __init__(self, url: str | Path) -> None:
        text = str(url)
        if "://" in text and not text.startswith("file://"):
            raise NotBuiltYetError(f"a store on {text.partition('://')[0]}", "--store")
        self.root = Path(text.removeprefix("file://")).expanduser().resolve()

    def __str__(self) -> str:
        return str(self.root)

    def path(self, relative: str) -> Path:
        """A local path at which the file `relative` (to the store) can be read."""
        return self.root / relative

    def relative(self, path: Path) -> str:
        """The name under which `path` stands in manifests: relative to the store, with `/`."""
        return path.resolve().relative_to(self.root).as_posix()

    def receipt(self, stage: str, key: str) -> Receipt | None:
        """The receipt of a finished output, or None where it is missing or its files are not whole."""
        folder = self.root / stage / key
        try:
            receipt = Receipt.model_validate_json((folder / RECEIPT).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        for name, file in receipt.files.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != file.bytes:
                return None
        return receipt

    @contextmanager
    def attempt(self, stage: str, key: str) -> Iterator[Attempt]:
        """Open a scratch folder for one try; it is removed afterwards, committed or not."""
        scratch = self.root / ATTEMPTS / f"{stage}-{key[:16]}-{uuid.uuid4().hex}"
        scratch.mkdir(parents=True)
        try:
            yield Attempt(self, stage, key, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def publish(source: Path, target: Path) -> None:
    """Move a finished file to its place: fsync, rename, fsync the folder. Atomic on one file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _fsync(source)
    source.replace(target)
    _fsync(target.parent)


def publish_bytes(data: bytes, target: Path) -> None:
    """Write `data` beside `target` under a unique name, then publish it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    scratch.write_bytes(data)
    publish(scratch, target)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _plain_facts(facts: Mapping[str, object]) -> dict[str, Any]:
    reduced = plain(facts)
    assert isinstance(reduced, dict)
    return reduced
