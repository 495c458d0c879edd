"""The content-addressed store: every output under `<stage>/<key>/`, its receipt written last.

A stage's output is finished when its receipt exists and each file has the recorded size; nothing else
counts. Files are written to a folder unique to the attempt, fsynced and renamed, then the target folder is
fsynced, then the receipt is published in the same way. A kill at any moment therefore leaves either a finished
output or one that is made again. Two attempts at one key write the same bytes, so it does not matter which one wins.

A store is a folder, or a URL of an object store. On an object store each file is uploaded, then the receipt; nothing
is renamed. This machine then keeps a folder of copies (see `objects/copies.py`): `root` is that folder, and `path`
updates it. The folder of copies can be deleted at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.files import (
    ByteRange,
    Found,
    find_files,
    in_hidden_folder,
    inside,
    is_scratch,
    leads_out,
    publish_bytes,
    read_range,
    size_of,
)
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.ledger.objects.copies import Copies
from mixproof.ledger.objects.objects import BLOCK_BYTES, Objects
from mixproof.ledger.objects.transfer import repeat_damaged
from mixproof.ledger.objects.urls import cache_folder, is_remote

from .attempts import Attempt, scratch_folder
from .packs import read_packed
from .receipt import PACKS, RECEIPT, Receipt, is_sealed, read_receipt
from .sealed import SEALED, sealed_receipt

UPLOADS = 8
"""Files of an output that are uploaded at a time; a file above 64 MB takes 64 MB of memory meanwhile."""


class Store:
    """A store, by its path or URL. Cheap to create and to pickle: it holds only its location."""

    def __init__(self, url: str | Path) -> None:
        text = str(url)
        self._copies: Copies | None = None
        if is_remote(text):
            self.root = cache_folder(text.rstrip("/"))
            self._copies = Copies(Objects(text), self.root)
        else:
            self.root = Path(text.removeprefix("file://")).expanduser().resolve()

    def __str__(self) -> str:
        return self._copies.objects.url if self._copies else str(self.root)

    @property
    def is_remote(self) -> bool:
        """Whether the store is on an object store, so that `root` holds only copies."""
        return self._copies is not None

    def check(self) -> None:
        """Check that the store can be used, before any work.

        Raises:
            RequestError: when the path is not that of a folder, or is inside a file; for an object store, when the
                package, the credentials, the bucket or the permission is missing.
        """
        if self._copies:
            self._copies.objects.check()
            return
        for path in (self.root, *self.root.parents):
            try:
                if path.is_dir():
                    return
                if path.exists():
                    inside = "" if path == self.root else f"{self.root}: "
                    raise RequestError(f"{inside}{path} is a file; a store is a folder, so name another path")
            except OSError as error:
                raise RequestError(f"{self.root}: {error.strerror}; name another folder for the store") from None

    def path(self, relative: str) -> Path:
        """The local path of the file named `relative` (to the store); the file may not exist.

        A file on an object store is copied first unless its copy is current. The copy is checked against the receipt
        of its output, if it has one.

        Raises:
            DamagedFileError: when an object does not match its output's receipt.
        """
        path = inside(self.root, relative)
        if self._copies and not self._copies.is_trusted(relative):
            found = self._copies.objects.head(relative)
            self._update_copies({} if found is None else {relative: found})
            if found is None:
                self._copies.remove(relative)
        return path

    def open(self, relative: str) -> Path | BytesIO:
        """As `path`, for a file that may be in a pack; then its bytes, as a file opened for reading."""
        return BytesIO(read_packed(self, relative)) if relative.startswith(f"{PACKS}/") else self.path(relative)

    def open_together(self, folder: str, names: Sequence[str]) -> list[Path | BytesIO]:
        """As `open`, for several files of one folder; a folder on an object store is listed once."""
        if not folder.startswith(f"{PACKS}/"):
            self.folder(folder)
        return [self.open(f"{folder}/{name}") for name in names]

    def folder(self, relative: str) -> Path:
        """As `path`, for every file in the folder `relative`, or named `relative` plus an extension.

        Raises:
            DamagedFileError: when an object does not match its output's receipt.
        """
        path = inside(self.root, relative)
        if self._copies:
            found = self._copies.objects.find(relative)
            self._update_copies(found)
            self._copies.remove_stale(relative, found)
        return path

    def location(self, relative: str) -> str:
        """The absolute path or URL of `relative`, for people and other programs."""
        return f"{self}/{relative}"

    def relative(self, path: Path) -> str:
        """The name of `path` in manifests: relative to the store, with `/`."""
        return path.resolve().relative_to(self.root).as_posix()

    def keys(self, stage: str) -> list[str]:
        """Keys of a stage's outputs in the store, finished or not, sorted."""
        if self._copies:
            names = self._copies.objects.folders(stage)
        else:
            folder = self.root / stage
            names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        return [name for name in names if not name.startswith(".")]

    def stages(self) -> list[str]:
        """Names of the stages that have outputs in the store, sorted."""
        return self.keys("")

    def find(self, folder: str) -> dict[str, Found]:
        """Every file below a folder, by its path in the store; "" is the whole store. Nothing is copied."""
        if self._copies:
            return self._copies.objects.find_below(folder)
        return dict(find_files(self.root, folder))

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of every file below a folder, by path relative to the folder. Nothing is copied."""
        return {name.removeprefix(f"{folder}/"): one.bytes for name, one in self.find(folder).items()}

    def sizes_by_prefix(self, stage: str, prefix: str) -> dict[str, int]:
        """On an object store: bytes of every file of the outputs whose keys begin with `prefix`, by path."""
        assert self._copies is not None
        return {name: one.bytes for name, one in self._copies.objects.find_by_prefix(stage, prefix).items()}

    def first_sizes(self, stage: str) -> tuple[dict[str, int], float] | None:
        """On an object store: bytes of the first files of a stage, and the share of its outputs that they cover.

        None if the client cannot list a part of a folder.
        """
        assert self._copies is not None
        page = self._copies.objects.first_page(stage)
        return None if page is None else ({name: one.bytes for name, one in page[0].items()}, page[1])

    def fetch(self, relative: str, *, without: str | None = None) -> Path:
        """Update local copies without checking them against receipts; for callers that check the files themselves.

        Args:
            relative: a file, folder or prefix.
            without: a folder in it that is not copied.
        """
        path = inside(self.root, relative)
        if self._copies:
            self._copies.fetch(relative, without=without and f"{relative}/{without}")
        return path

    def restore(self, folder: str) -> Path:
        """As `fetch`; also remove local files that the object store does not have, except in hidden folders.

        A killed command may have left such files in the copy of `folder`.
        """
        path = self.fetch(folder)
        if self._copies:
            for name in set(self._visible(folder)) - set(self._copies.objects.find(folder)):
                (self.root / name).unlink()
        return path

    def write(self, relative: str, data: bytes) -> Path:
        """Publish a small file and return its local path."""
        path = inside(self.root, relative)
        publish_bytes(data, path)
        self.upload(relative)
        return path

    def write_receipt(self, receipt: Receipt) -> None:
        """Publish the receipt of an output beside its files, which marks it as finished."""
        self.write(f"{receipt.stage}/{receipt.key}/{RECEIPT}", receipt.to_bytes())

    def upload(self, relative: str, *, confirmed: bool = False) -> None:
        """Upload a local file, already at its path below `root`, to the object store. No-op for a local store.

        `confirmed`: it is a file of an output, whose receipt follows.
        """
        if self._copies:
            self._copies.upload(relative, confirmed=confirmed)

    def upload_all(self, names: Sequence[str]) -> None:
        """Upload the files of an output, whose receipt follows, several at a time."""
        if self._copies and names:
            with ThreadPoolExecutor(min(len(names), UPLOADS)) as threads:
                list(threads.map(lambda name: self.upload(name, confirmed=True), names))

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """The bytes of small files; missing files are left out."""
        if self._copies:
            return self._copies.objects.read(names)
        return {name: path.read_bytes() for name in names if (path := inside(self.root, name)).is_file()}

    def read_ranges(self, ranges: Sequence[ByteRange]) -> list[bytes]:
        """The bytes of ranges of files, in order. Files on an object store are not copied as a whole.

        The bytes are not checked against receipts, so a file that is read so needs checksums of its own.

        Raises:
            FileNotFoundError: when one of the files does not exist.
        """
        if not self._copies:
            return [read_range(inside(self.root, each.name), each.start, each.end) for each in ranges]
        copied = {name for name in {each.name for each in ranges} if self._copies.is_trusted(name)}
        requested = iter(self._copies.objects.read_ranges([each for each in ranges if each.name not in copied]))
        return [
            read_range(self.root / each.name, each.start, each.end) if each.name in copied else next(requested)
            for each in ranges
        ]

    def blocks(self, relative: str) -> Iterator[bytes]:
        """Read a file in blocks from the store itself, not from a copy.

        Raises:
            FileNotFoundError: when it does not exist.
        """
        if self._copies:
            yield from self._copies.objects.blocks(relative)
            return
        with inside(self.root, relative).open("rb", buffering=0) as file:
            while block := file.read(BLOCK_BYTES):
                yield block

    def remove(self, names: Sequence[str]) -> None:
        """Remove files, in no particular order, and folders left empty; missing files are ignored."""
        if self._copies:
            self._copies.remove_objects(names)
            return
        for name in names:
            path = inside(self.root, name)
            path.unlink(missing_ok=True)
            with suppress(OSError):  # the folder is not empty
                path.parent.rmdir()

    def mirror(self, folder: str, *, last: tuple[str, ...] = ()) -> None:
        """Make a folder of the object store equal to the local one, except for hidden folders and scratch files.

        Args:
            folder: relative to the store.
            last: endings of names that mark other files as complete; uploaded after those, and removed before them.
        """
        if not self._copies:
            return
        names = self._visible(folder)
        remote = self._copies.objects.find(folder)
        removed = {name for name in remote if not in_hidden_folder(name)} - set(names)
        for is_marker in (True, False):
            if chosen := [name for name in removed if name.endswith(last) is is_marker]:
                self._copies.remove_objects(chosen)
        for name in sorted(names, key=lambda name: name.endswith(last)):
            if name not in remote or not self._copies.is_current(name, remote[name]):
                self._copies.upload(name)

    def receipt(self, stage: str, key: str, *, sealed: bool = True) -> Receipt | None:
        """The receipt of a finished output; None when it is missing or a file does not have its recorded size.

        The receipt is beside the output or among the sealed ones; `sealed` False looks only beside the output.
        """
        folder = f"{stage}/{key}"
        name = f"{folder}/{RECEIPT}"
        raw = repeat_damaged(lambda: self.read([name]).get(name), lambda raw: raw is None or is_sealed(raw))
        if raw is None and sealed and stage != SEALED:
            raw = sealed_receipt(self, stage, key)
        if raw is None:
            return None
        try:
            receipt = read_receipt(raw)
        except ValueError:
            return None
        if (receipt.stage, receipt.key) != (stage, key):
            return None
        stored = folder if receipt.pack is None else receipt.pack.folder
        if any(map(leads_out, receipt.sizes)):
            return None
        found = self.find(stored) if self._copies else None
        for name, expected in receipt.sizes.items():
            size = size_of(self.root / name) if found is None else found[name].bytes if name in found else None
            if size != expected:
                if self._copies:
                    self._copies.remove(name)
                return None
        return receipt

    @contextmanager
    def attempt(self, stage: str, key: str) -> Iterator[Attempt]:
        """Open a scratch folder for one attempt. It is removed at the end; those of dead attempts are removed first."""
        with scratch_folder(self.root, stage, key) as scratch:
            yield Attempt(self, stage, key, scratch)

    def _visible(self, folder: str) -> list[str]:
        """Files below a local folder, sorted, without hidden folders and scratch files."""
        paths = [path for path in sorted((self.root / folder).rglob("*")) if path.is_file()]
        names = [path.relative_to(self.root).as_posix() for path in paths if not is_scratch(path.name)]
        return [name for name in names if not in_hidden_folder(name)]

    def _update_copies(self, found: Mapping[str, Found]) -> None:
        """Update copies, and check the new ones against the receipts of their outputs."""
        assert self._copies is not None
        for name, one in found.items():
            if not self._copies.update(name, one):
                continue
            stage, _, path = name.partition("/")
            key, _, file = path.partition("/")
            receipt = self.receipt(stage, key) if file and file != RECEIPT else None
            if receipt is None or file not in receipt.files:
                continue
            sha256, expected = sha256_of_file(self.root / name), receipt.files[file].sha256
            if sha256 != expected:  # perhaps damaged on the way: copy it once more
                self._copies.remove(name)
                self._copies.update(name, one)
                sha256 = sha256_of_file(self.root / name)
            if sha256 != expected:
                self._copies.remove(name)
                reason = f"SHA-256 is {sha256}, but its receipt says {expected}; delete its folder to make it again"
                raise DamagedFileError(self.location(name), "whole file", reason)
            self._copies.confirm(name)
