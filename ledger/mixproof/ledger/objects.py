"""Objects: a store's files on an object store, by any fsspec URL, and their copies on this machine.

Object stores have no rename and no folders: an object is there whole or not at all, so a file is published by putting
it, and an output by putting its receipt last. Tools that map files into memory need local ones, so every object that
is read is copied once to this machine, whole, and kept with the tag (ETag) it had there: a copy is used as long as
the object has that tag. Nothing of a listing is remembered: one file costs one request for its head, a folder one
listing, each time it is asked for. Uploads go in blocks of 32 MB, two at a time, so memory stays bounded whatever the
size.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import RequestError
from .files import Found, publish, publish_bytes, scratch_beside
from .fingerprint import sha256_of
from .object_errors import told

BLOCK_BYTES = 32 * 1024 * 1024
UPLOADS_AT_A_TIME = 2
READ_AT_A_TIME = 1000
"""Small objects that are asked for together."""
CACHE = "MIXPROOF_CACHE"
"""Environment variable: the folder of this machine's copies; default: ~/.cache/mixproof."""
PLACE = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
"""Environment variables that say where objects are; those that say who may use them are each machine's own."""
SETTINGS = ("AWS_", "AZURE_", "FSSPEC_", "GCSFS_", "GOOGLE_")
"""Beginnings of the environment variables that clients read."""
TAGS = ".tags"
_TIMES = ("LastModified", "updated", "last_modified", "mtime", "created")
PROBE = ".probe"
"""An object that need not be there: asking for it says whether anything may be asked."""


def is_remote(url: str) -> bool:
    """Whether a store's name is a URL of something else than a local folder."""
    return "://" in url and not url.startswith("file://")


def cache_folder(url: str) -> Path:
    """Where this machine keeps its copies of the store at `url`."""
    base = os.environ.get(CACHE)
    folder = Path(base).expanduser() if base else Path.home() / ".cache" / "mixproof"
    return folder.resolve() / sha256_of(url)[:16]


class Objects:
    """The objects below a URL and their copies in a folder; cheap to make and to pickle."""

    def __init__(self, url: str, copies: Path) -> None:
        self.url = url.rstrip("/")
        self._copies = copies

    def look(self, name: str) -> Found | None:
        """The object `name` as it is now; None where there is none."""
        with told(self.url):
            try:
                info = self._system.info(self._place(name))
            except FileNotFoundError:
                return None
        return _found(info) if info["type"] == "file" else None

    def find(self, prefix: str) -> dict[str, Found]:
        """Every object whose name, relative to the store, is `prefix` or goes on from it with `/` or `.`; "": all."""
        parent, _, last = prefix.rpartition("/")
        with told(self.url):
            whole = self._system.find(self._place(prefix), detail=True, withdirs=False)
            if not whole and last:
                whole = self._system.find(self._place(parent), maxdepth=1, prefix=f"{last}.", detail=True)
        below = len(self._place("")) + 1
        found = {place[below:]: _found(info) for place, info in whole.items() if info["type"] == "file"}
        starts = (f"{prefix}/", f"{prefix}.") if prefix else ("",)
        return {name: one for name, one in found.items() if name == prefix or name.startswith(starts)}

    def find_some(self, folder: str, start: str) -> dict[str, Found]:
        """Every object below `folder` whose name in it begins with `start`."""
        with told(self.url):
            some = self._system.find(self._place(folder), prefix=start, detail=True)
        below = len(self._place("")) + 1
        found = {place[below:]: _found(info) for place, info in some.items() if info["type"] == "file"}
        return {name: one for name, one in found.items() if name.startswith(f"{folder}/{start}")}

    def folders(self, name: str) -> list[str]:
        """Names of what lies directly below the folder `name`."""
        with told(self.url):
            try:
                places = self._system.ls(self._place(name), detail=False)
            except FileNotFoundError:
                return []
        return sorted({place.rstrip("/").rpartition("/")[2] for place in places})

    def fetch(self, prefix: str, *, without: str | None = None) -> dict[str, Found]:
        """Bring the copies of everything that `find` finds up to date, and remove copies of what is gone.

        Args:
            prefix: as for `find`.
            without: a folder that is left out, by the start of its name.

        Returns:
            What is there now; the files lie in the folder of copies under the same names.
        """
        found = self.find(prefix)
        for name, one in found.items():
            if without is None or not name.startswith(without):
                self.bring(name, one)
        self.forget_others(prefix, found)
        return found

    def bring(self, name: str, found: Found) -> bool:
        """Copy an object unless its copy is current; says whether it was copied."""
        if self.is_current(name, found):
            return False
        try:
            self._download(name, found)
        except FileNotFoundError:  # gone since it was listed
            self.forget(name)
            return False
        return True

    def forget_others(self, prefix: str, found: Collection[str]) -> None:
        """Remove the copies of what was at `prefix` and is not in `found`, all that is there now."""
        for stale in self._copies_of(prefix) - set(found):
            self.forget(stale)

    def forget(self, name: str) -> None:
        """Remove the copy of an object that is gone; a file that never was one stays."""
        tag = self._copies / TAGS / name
        if tag.is_file():
            (self._copies / name).unlink(missing_ok=True)
            tag.unlink(missing_ok=True)

    def blocks(self, name: str) -> Iterator[bytes]:
        """The bytes of an object in blocks, past the copies.

        Raises:
            FileNotFoundError: where there is none.
        """
        with told(self.url):
            size = int(self._system.info(self._place(name))["size"])
        for start in range(0, size, BLOCK_BYTES):
            with told(self.url):
                end = min(start + BLOCK_BYTES, size)
                block: bytes = self._system.cat_file(self._place(name), start=start, end=end)
            yield block

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """The bytes of small objects, many requests at a time; those that are gone are left out."""
        places = {self._place(name): name for name in names}
        found: dict[str, bytes] = {}
        for first in range(0, len(places), READ_AT_A_TIME):
            with told(self.url):
                batch = list(places)[first : first + READ_AT_A_TIME]
                answers = self._system.cat(batch, on_error="return")
                for place, answer in answers.items():
                    if isinstance(answer, Exception):
                        if isinstance(answer, FileNotFoundError):
                            continue
                        raise answer
                    found[places[place]] = answer
        return found

    def upload(self, name: str) -> None:
        """Put the local file `name` where others see it."""
        source = self._copies / name
        with told(self.url):
            self._system.put_file(
                str(source), self._place(name), chunksize=BLOCK_BYTES, **self._options("max_concurrency")
            )
            info = self._system.info(self._place(name))
        self._remember(name, _tag(info))

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects, in no order, and their copies; those that are gone already are no error."""
        for name in names:
            self.forget(name)
        with told(self.url):
            try:
                self._system.rm([self._place(name) for name in names])
            except FileNotFoundError:
                for name in names:
                    if self.look(name) is not None:
                        self._system.rm_file(self._place(name))

    def check(self) -> None:
        """Look whether the place can be used at all.

        Raises:
            RequestError: when the package, the credentials, the bucket or the right to use it is missing.
        """
        if self.url.endswith(":"):
            raise RequestError(f"{self.url}//: names no bucket; a store is a place in one, as in s3://bucket/mixproof")
        bucket = self._place("").partition("/")[0]
        with told(self.url):
            try:
                self._system.info(self._place(PROBE))
                there = True
            except FileNotFoundError:
                there = bool(self._system.exists(bucket))
        if not there:
            raise RequestError(f"{self.url}: there is no bucket {bucket}; make it, or name another place")

    @property
    def _system(self) -> Any:  # noqa: ANN401  fsspec ships no types
        settings = tuple(sorted(item for item in os.environ.items() if item[0].startswith(SETTINGS)))
        with told(self.url):
            return _client(self.url.partition("://")[0], settings, os.getpid())

    def _place(self, name: str) -> str:
        base = str(self._system._strip_protocol(self.url)).rstrip("/")
        return f"{base}/{name}" if name else base

    def _options(self, name: str) -> dict[str, int]:
        return {name: UPLOADS_AT_A_TIME} if self.url.startswith("s3") else {}

    def is_current(self, name: str, found: Found) -> bool:
        """Whether the local file `name` is a copy of the object, not changed since it was copied or put there."""
        copy, tag = self._copies / name, self._copies / TAGS / name
        try:
            if tag.read_text() != found.tag:
                return False
            seen, known = copy.stat(), tag.stat()
        except FileNotFoundError:
            return False
        return seen.st_size == found.bytes and seen.st_mtime_ns <= known.st_mtime_ns

    def _download(self, name: str, found: Found) -> None:
        target = self._copies / name
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = scratch_beside(target)
        with told(self.url):
            self._system.get_file(self._place(name), str(scratch))
        publish(scratch, target)
        self._remember(name, found.tag)

    def _remember(self, name: str, tag: str) -> None:
        publish_bytes(tag.encode(), self._copies / TAGS / name)

    def _copies_of(self, prefix: str) -> set[str]:
        """Copies on this machine that came from there, by name."""
        tags = self._copies / TAGS
        place = tags / prefix
        paths = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
        paths += place.parent.glob(f"{place.name}.*")
        return {path.relative_to(tags).as_posix() for path in paths if path.is_file()}


@lru_cache(maxsize=4)
def _client(protocol: str, settings: tuple[tuple[str, str], ...], process: int) -> Any:  # noqa: ANN401  as above
    """A client; making one takes 0.1 s, so a process keeps it while these environment variables are the same."""
    import fsspec  # here, because most stores are folders

    return fsspec.filesystem(protocol, use_listings_cache=False, skip_instance_cache=True)


def _found(info: dict[str, Any]) -> Found:
    """From what fsspec says of an object."""
    times = (info.get(name) for name in _TIMES)
    modified = next((time for time in times if isinstance(time, datetime)), None)
    return Found(int(info["size"]), 0.0 if modified is None else modified.timestamp(), _tag(info))


def _tag(info: dict[str, Any]) -> str:
    for name in ("ETag", "etag", "md5Hash", "generation", "LastModified", "mtime", "created"):
        if info.get(name) is not None:
            return f"{name} {info[name]}"
    return f"size {info['size']}"
