"""The content-addressed store: every output under `<stage>/<key>/`, its receipt written last.

A stage's output is done when its receipt is there and each file has the recorded size; nothing else
counts. Files are written under an attempt-unique folder, fsynced and renamed, then the folder is
fsynced, then the receipt goes the same way, so a kill at any moment leaves either a finished output or
one that is made again. Two attempts at one key write the same bytes, so it does not matter which of them
wins.

A store is named by a path or by a URL of an object store. Such a store has its outputs there, where a rename is
never asked for: each file is put, then the receipt. On this machine it has a folder of copies (see `objects.py`),
which `root` names and `path` brings up to date; that folder may be lost at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .account import StageRow
from .attempts import ATTEMPTS, scratch_folder
from .errors import DamagedFileError
from .files import Found, find_files, is_scratch, publish, publish_bytes
from .fingerprint import plain, sha256_of_file
from .objects import BLOCK_BYTES, Objects, cache_folder, is_remote
from .receipt import RECEIPT, Receipt, StoredFile, read_receipt
from .sealed import SEALED, sealed_receipt

__all__ = ["ATTEMPTS", "RECEIPT", "Attempt", "Receipt", "Store", "publish", "publish_bytes"]


class Attempt:
    """A scratch folder for one try at one output; becomes the output when it is committed."""

    def __init__(self, store: Store, stage: str, key: str, scratch: Path) -> None:
        self._store, self._stage, self._key, self._scratch = store, stage, key, scratch

    def path(self, name: str) -> Path:
        """Where to write the file `name` of this output; its folder is there."""
        path = self._scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def commit(self, *, account: tuple[StageRow, ...] = (), facts: Mapping[str, object] | None = None) -> Receipt:
        """Publish every file of the scratch folder, then the receipt.

        Raises:
            TypeError: when `facts` holds something without an exact spelling.
        """
        files: dict[str, StoredFile] = {}
        place = f"{self._stage}/{self._key}"
        for file in sorted(path for path in self._scratch.rglob("*") if path.is_file()):
            name = file.relative_to(self._scratch).as_posix()
            files[name] = StoredFile(sha256=sha256_of_file(file), bytes=file.stat().st_size)
            publish(file, self._store.root / place / name)
            self._store.upload(f"{place}/{name}")
        receipt = Receipt(
            stage=self._stage, key=self._key, files=files, account=account, facts=_plain_facts(facts or {})
        )
        self._store.write(f"{place}/{RECEIPT}", receipt.to_bytes())
        return receipt


class Store:
    """A store by its path or URL. Cheap to make and to pickle: it holds nothing but its place."""

    def __init__(self, url: str | Path) -> None:
        text = str(url)
        self._objects: Objects | None = None
        if is_remote(text):
            self._objects = Objects(text, cache_folder(text.rstrip("/")))
            self.root = cache_folder(text.rstrip("/"))
        else:
            self.root = Path(text.removeprefix("file://")).expanduser().resolve()

    def __str__(self) -> str:
        return self._objects.url if self._objects else str(self.root)

    @property
    def is_remote(self) -> bool:
        """Whether it lies on an object store, and `root` holds copies only."""
        return self._objects is not None

    def check(self) -> None:
        """Look whether an object store can be used at all.

        Raises:
            RequestError: when package, credentials, bucket or rights are missing.
        """
        if self._objects:
            self._objects.check()

    def path(self, relative: str) -> Path:
        """A local path at which the file named `relative` (to the store) can be read; there may be none.

        From an object store it is copied where there is no current copy, and held against its receipt where it has
        one.

        Raises:
            DamagedFileError: when an object is not what its output's receipt says.
        """
        if self._objects:
            found = self._objects.look(relative)
            self._bring({} if found is None else {relative: found})
            if found is None:
                self._objects.forget(relative)
        return self.root / relative

    def folder(self, relative: str) -> Path:
        """As `path`, for everything in the folder `relative`, or whose name is this prefix with an ending.

        Raises:
            DamagedFileError: when an object is not what its output's receipt says.
        """
        if self._objects:
            found = self._objects.find(relative)
            self._bring(found)
            self._objects.forget_others(relative, found)
        return self.root / relative

    def location(self, relative: str) -> str:
        """Where `relative` lies for people and other programs: an absolute path or a URL."""
        return f"{self}/{relative}"

    def relative(self, path: Path) -> str:
        """The name under which `path` stands in manifests: relative to the store, with `/`."""
        return path.resolve().relative_to(self.root).as_posix()

    def keys(self, stage: str) -> list[str]:
        """Names of what a stage has in the store, finished or not, in order."""
        if self._objects:
            names = self._objects.folders(stage)
        else:
            folder = self.root / stage
            names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        return [name for name in names if not name.startswith(".")]

    def stages(self) -> list[str]:
        """Names of the stages that have something in the store, in order."""
        return self.keys("")

    def find(self, folder: str) -> dict[str, Found]:
        """Every file below a folder, by its place in the store; nothing is copied. "" is the whole store."""
        if self._objects:
            return self._objects.find(folder)
        return dict(find_files(self.root, folder))

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of every file below a folder, by name relative to it; nothing is copied."""
        return {name.removeprefix(f"{folder}/"): one.bytes for name, one in self.find(folder).items()}

    def sizes_of_some(self, stage: str, start: str) -> dict[str, int]:
        """On an object store: bytes of every file of the outputs whose keys begin with `start`, by place."""
        assert self._objects is not None
        return {name: one.bytes for name, one in self._objects.find_some(stage, start).items()}

    def fetch(self, relative: str, *, without: str | None = None) -> Path:
        """Bring local copies up to date as they are, whole or damaged; for whoever checks them himself.

        Args:
            relative: a file, folder or prefix.
            without: a folder of it that stays where it is.
        """
        if self._objects:
            self._objects.fetch(relative, without=without and f"{relative}/{without}")
        return self.root / relative

    def restore(self, folder: str) -> Path:
        """As `fetch`; what a killed command has left in the copy of `folder` alone goes, but for hidden folders."""
        path = self.fetch(folder)
        if self._objects:
            for name in set(self._visible(folder)) - set(self._objects.find(folder)):
                (self.root / name).unlink()
        return path

    def write(self, relative: str, data: bytes) -> Path:
        """Publish a small file; returns its local path."""
        publish_bytes(data, self.root / relative)
        self.upload(relative)
        return self.root / relative

    def upload(self, relative: str) -> None:
        """Put a local file, which is where it belongs below `root`, on the object store; nothing to do elsewhere."""
        if self._objects:
            self._objects.upload(relative)

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """The bytes of small files; those that are not there are left out."""
        if self._objects:
            return self._objects.read(names)
        return {name: (self.root / name).read_bytes() for name in names if (self.root / name).is_file()}

    def blocks(self, relative: str) -> Iterator[bytes]:
        """The bytes of a file as they lie in the store, past any copy.

        Raises:
            FileNotFoundError: when it is not there.
        """
        if self._objects:
            yield from self._objects.blocks(relative)
            return
        with (self.root / relative).open("rb", buffering=0) as file:
            while block := file.read(BLOCK_BYTES):
                yield block

    def remove(self, names: Sequence[str]) -> None:
        """Remove files, in no order, and folders that are empty then; those that are gone already are no error."""
        if self._objects:
            self._objects.remove(names)
            return
        for name in names:
            path = self.root / name
            path.unlink(missing_ok=True)
            with suppress(OSError):  # it holds more
                path.parent.rmdir()

    def mirror(self, folder: str, *, last: tuple[str, ...] = ()) -> None:
        """Make a folder of the object store what it is below `root`; hidden folders and scratch files stay here.

        Args:
            folder: relative to the store.
            last: names whose presence says that others are whole; they are put after them, and removed before.
        """
        if not self._objects:
            return
        names = self._visible(folder)
        there = self._objects.find(folder)
        gone = set(there) - set(names)
        for first in (True, False):
            if chosen := [name for name in gone if name.endswith(last) is first]:
                self._objects.remove(chosen)
        for name in sorted(names, key=lambda name: name.endswith(last)):
            if name not in there or not self._objects.is_current(name, there[name]):
                self._objects.upload(name)

    def receipt(self, stage: str, key: str) -> Receipt | None:
        """The receipt of a finished output, or None where it is missing or its files are not whole.

        Where there is none beside the output it may be among the sealed ones.
        """
        place = f"{stage}/{key}"
        sizes = self.sizes(place) if self._objects else None
        raw = None
        if sizes is None or RECEIPT in sizes:
            raw = self.read([f"{place}/{RECEIPT}"]).get(f"{place}/{RECEIPT}")
        if raw is None and stage != SEALED:
            raw = sealed_receipt(self, stage, key)
        if raw is None:
            return None
        try:
            receipt = read_receipt(raw)
        except ValueError:
            return None
        if (receipt.stage, receipt.key) != (stage, key):
            return None
        for name, file in receipt.files.items():
            size = sizes.get(name) if sizes is not None else _size(self.root / place / name)
            if size != file.bytes:
                return None
        return receipt

    @contextmanager
    def attempt(self, stage: str, key: str) -> Iterator[Attempt]:
        """Open a scratch folder for one try; it is removed at the end, and what dead tries left before."""
        with scratch_folder(self.root, stage, key) as scratch:
            yield Attempt(self, stage, key, scratch)

    def _visible(self, folder: str) -> list[str]:
        """Files below a folder on this machine, in order; none in hidden folders, none that is going to be another."""
        local = [path.relative_to(self.root) for path in sorted((self.root / folder).rglob("*")) if path.is_file()]
        hidden = [any(part.startswith(".") for part in path.parts[:-1]) or is_scratch(path.name) for path in local]
        return [path.as_posix() for path, is_hidden in zip(local, hidden, strict=True) if not is_hidden]

    def _bring(self, found: Mapping[str, Found]) -> None:
        """Copy, and hold what was copied now against the receipts of its outputs."""
        assert self._objects is not None
        for name, one in found.items():
            if not self._objects.bring(name, one):
                continue
            stage, _, rest = name.partition("/")
            key, _, file = rest.partition("/")
            receipt = self.receipt(stage, key) if file and file != RECEIPT else None
            if receipt is None or file not in receipt.files:
                continue
            sha256, expected = sha256_of_file(self.root / name), receipt.files[file].sha256
            if sha256 != expected:
                self._objects.forget(name)
                reason = f"SHA-256 is {sha256}, its receipt says {expected}; delete its folder"
                raise DamagedFileError(self.location(name), "whole file", reason)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _plain_facts(facts: Mapping[str, object]) -> dict[str, Any]:
    reduced = plain(facts)
    assert isinstance(reduced, dict)
    return reduced
