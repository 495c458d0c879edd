"""Objects: a store's files on an object store (any fsspec URL) and their copies on this machine.

Object stores have neither rename nor folders. An object exists completely or not at all, so a file is published by
uploading it, and an output by uploading its receipt last. Tools that map files into memory need local files, so every
object that is read is first copied to this machine, with the tag (ETag) it had: the copy is used as long as the
object keeps that tag. Listings are never cached: each access to a file costs one HEAD request, each access to a folder
one listing. Only a copy that its output's receipt confirms is used without a request for TRUSTED_SECONDS, because an
output's content never changes. Uploads use blocks of 32 MB, two at a time, so memory is bounded for files of any
size.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import RequestError
from .files import Found, inside, publish, publish_bytes, scratch_beside
from .fingerprint import sha256_of
from .object_errors import actionable_errors

LOGGER = logging.getLogger(__name__)
BLOCK_BYTES = 32 * 1024 * 1024
AT_ONCE_BYTES = 2 * BLOCK_BYTES
"""A smaller file is uploaded to S3 by one request, whose response has its tag."""
UPLOADS_AT_A_TIME = 2
READ_AT_A_TIME = 1000
"""Small objects that are requested together."""
CACHE = "MIXPROOF_CACHE"
"""Environment variable: the folder for this machine's copies. Default: ~/.cache/mixproof."""
LOCATION_VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
"""Environment variables that say where objects are. Those with credentials are each machine's own."""
SETTING_PREFIXES = ("AWS_", "AZURE_", "FSSPEC_", "GCSFS_", "GOOGLE_")
"""Prefixes of the environment variables that clients read."""
TAGS = ".tags"
_TIME_FIELDS = ("LastModified", "updated", "last_modified", "mtime", "created")
LISTED_AT_ONCE = 1000
"""Objects in one response to a listing (S3's limit)."""
TRUSTED_SECONDS = 600.0
"""How long a copy that its receipt confirms is used without asking whether the object is still there."""
CONFIRMED = "confirmed by its receipt"
"""Second line of the tag of such a copy."""
FIRST_DIGITS = re.compile("[0-9a-f]{8}")
PROBE = ".probe"
"""An object that need not exist: a request for it shows whether requests are allowed at all."""


def is_remote(url: str) -> bool:
    """Whether a store's name is the URL of something other than a local folder."""
    return "://" in url and not url.startswith("file://")


def cache_folder(url: str) -> Path:
    """The folder in which this machine keeps its copies of the store at `url`."""
    base = os.environ.get(CACHE)
    folder = Path(base).expanduser() if base else Path.home() / ".cache" / "mixproof"
    return folder.resolve() / sha256_of(url)[:16]


class Objects:
    """The objects below a URL and their copies in a local folder. Cheap to create and to pickle."""

    def __init__(self, url: str, copies: Path) -> None:
        self.url = url.rstrip("/")
        self._copies = copies

    def head(self, name: str) -> Found | None:
        """The object `name` as it is now; None when it does not exist."""
        with actionable_errors(self.url):
            try:
                info = self._system.info(self._path(name))
            except FileNotFoundError:
                return None
        return _found(info) if info["type"] == "file" else None

    def find(self, prefix: str) -> dict[str, Found]:
        """Every object whose name, relative to the store, is `prefix` or continues it with `/` or `.`; "" is all."""
        parent, _, last = prefix.rpartition("/")
        with actionable_errors(self.url):
            listing = self._system.find(self._path(prefix), detail=True, withdirs=False)
            if not listing and last:
                listing = self._system.find(self._path(parent), maxdepth=1, prefix=f"{last}.", detail=True)
        below = len(self._path("")) + 1
        found = {path[below:]: _found(info) for path, info in listing.items() if info["type"] == "file"}
        starts = (f"{prefix}/", f"{prefix}.") if prefix else ("",)
        return {name: one for name, one in found.items() if name == prefix or name.startswith(starts)}

    def find_by_prefix(self, folder: str, prefix: str) -> dict[str, Found]:
        """Every object below `folder` whose name in that folder begins with `prefix`."""
        with actionable_errors(self.url):
            listing = self._system.find(self._path(folder), prefix=prefix, detail=True)
        below = len(self._path("")) + 1
        found = {path[below:]: _found(info) for path, info in listing.items() if info["type"] == "file"}
        return {name: one for name, one in found.items() if name.startswith(f"{folder}/{prefix}")}

    def first_page(self, folder: str) -> tuple[dict[str, Found], float] | None:
        """The first objects below `folder`, by one request, and the share of its names that they cover.

        None if the client cannot list a page, or names are not keys, whose digits show the share.
        """
        if not self.url.startswith("s3://"):
            return None
        bucket, _, prefix = f"{self._path(folder)}/".partition("/")
        with actionable_errors(self.url):
            page = self._system.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=LISTED_AT_ONCE)
        below = len(prefix) - len(folder) - 1
        found = {
            each["Key"][below:]: _found({**each, "size": each["Size"], "type": "file"})
            for each in page.get("Contents", ())
        }
        if not page["IsTruncated"]:
            return found, 1.0
        last = next(reversed(found)).removeprefix(f"{folder}/")
        share = FIRST_DIGITS.match(last)
        return (found, (int(share[0], 16) + 1) / 16**8) if share else None

    def folders(self, name: str) -> list[str]:
        """Names of the entries directly below the folder `name`, sorted."""
        with actionable_errors(self.url):
            try:
                paths = self._system.ls(self._path(name), detail=False)
            except FileNotFoundError:
                return []
        return sorted({path.rstrip("/").rpartition("/")[2] for path in paths})

    def fetch(self, prefix: str, *, without: str | None = None) -> dict[str, Found]:
        """Update the copies of everything that `find` finds, and remove copies of deleted objects.

        Args:
            prefix: as for `find`.
            without: objects whose names start with this are left out.

        Returns:
            The objects there are now; their copies have the same names in the folder of copies.
        """
        found = self.find(prefix)
        for name, one in found.items():
            if without is None or not name.startswith(without):
                self.update_copy(name, one)
        self.remove_stale_copies(prefix, found)
        return found

    def update_copy(self, name: str, found: Found) -> bool:
        """Copy an object unless its copy is current; return whether it was copied."""
        if self.is_current(name, found):
            return False
        try:
            self._download(name, found)
        except FileNotFoundError:  # removed since it was listed
            self.remove_copy(name)
            return False
        return True

    def remove_stale_copies(self, prefix: str, found: Collection[str]) -> None:
        """Remove the copies below `prefix` whose objects are not in `found`, the objects there are now."""
        for stale in self._copies_of(prefix) - set(found):
            self.remove_copy(stale)

    def remove_copy(self, name: str) -> None:
        """Remove the copy of an object; a local file that is not a copy stays."""
        tag = self._copies / TAGS / name
        if tag.is_file():
            (self._copies / name).unlink(missing_ok=True)
            tag.unlink(missing_ok=True)

    def blocks(self, name: str) -> Iterator[bytes]:
        """Read an object in blocks from the object store itself, not from a copy.

        Raises:
            FileNotFoundError: when it does not exist.
        """
        with actionable_errors(self.url):
            size = int(self._system.info(self._path(name))["size"])
        for start in range(0, size, BLOCK_BYTES):
            with actionable_errors(self.url):
                end = min(start + BLOCK_BYTES, size)
                block: bytes = self._system.cat_file(self._path(name), start=start, end=end)
            yield block

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """The bytes of small objects, by many requests at a time; missing objects are left out.

        One request each: `cat` of fsspec, and reading in several pieces, would ask for their sizes first.
        """
        names_by_path = {self._path(name): name for name in names}
        found: dict[str, bytes] = {}
        for first in range(0, len(names_by_path), READ_AT_A_TIME):
            with actionable_errors(self.url):
                batch = list(names_by_path)[first : first + READ_AT_A_TIME]
                answers = self._system.cat_ranges(batch, None, None, on_error="return", **self._in_pieces(1))
                for path, answer in zip(batch, answers, strict=True):
                    if isinstance(answer, Exception):
                        if isinstance(answer, FileNotFoundError):
                            continue
                        raise answer
                    found[names_by_path[path]] = answer
        return found

    def upload(self, name: str, *, confirmed: bool = False) -> None:
        """Upload the local file `name`; `confirmed`: it is one of an output's, and its receipt follows."""
        source = self._copies / name
        LOGGER.debug("uploading %s to %s/%s", source, self.url, name)
        with actionable_errors(self.url):
            if self.url.startswith("s3://") and source.stat().st_size <= AT_ONCE_BYTES:
                bucket, _, key = self._path(name).partition("/")
                info = self._system.call_s3("put_object", Bucket=bucket, Key=key, Body=source.read_bytes())
            else:
                self._system.put_file(
                    str(source), self._path(name), chunksize=BLOCK_BYTES, **self._in_pieces(UPLOADS_AT_A_TIME)
                )
                info = self._system.info(self._path(name))
        self._write_tag(name, _tag(info), confirmed=confirmed)

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects and their copies, in no particular order; missing ones are ignored."""
        for name in names:
            self.remove_copy(name)
        with actionable_errors(self.url):
            try:
                self._system.rm([self._path(name) for name in names])
            except FileNotFoundError:
                for name in names:
                    if self.head(name) is not None:
                        self._system.rm_file(self._path(name))

    def check(self) -> None:
        """Check that the object store can be used.

        Raises:
            RequestError: when the package, the credentials, the bucket or the permission is missing.
        """
        if self.url.endswith(":"):
            raise RequestError(
                f"{self.url}//: no bucket is named; a store is a prefix in a bucket, such as s3://bucket/mixproof"
            )
        bucket = self._path("").partition("/")[0]
        with actionable_errors(self.url):
            try:
                self._system.info(self._path(PROBE))
                exists = True
            except FileNotFoundError:
                exists = bool(self._system.exists(bucket))
        if not exists:
            raise RequestError(f"{self.url}: there is no bucket {bucket}; create it, or name another one")

    @property
    def _system(self) -> Any:  # noqa: ANN401  fsspec ships no types
        settings = tuple(sorted(item for item in os.environ.items() if item[0].startswith(SETTING_PREFIXES)))
        with actionable_errors(self.url):
            return _client(self.url.partition("://")[0], settings, os.getpid())

    def _path(self, name: str) -> str:
        base = str(self._system._strip_protocol(self.url)).rstrip("/")
        return f"{base}/{name}" if name else base

    def _in_pieces(self, at_a_time: int) -> dict[str, int]:
        return {"max_concurrency": at_a_time} if self.url.startswith("s3") else {}

    def is_current(self, name: str, found: Found) -> bool:
        """Whether the local file `name` equals the object: same tag and size, not modified since the transfer."""
        copy, tag = self._copies / name, self._copies / TAGS / name
        try:
            if tag.read_text().partition("\n")[0] != found.tag:
                return False
            copy_status, tag_status = copy.stat(), tag.stat()
        except FileNotFoundError:
            return False
        return copy_status.st_size == found.bytes and copy_status.st_mtime_ns <= tag_status.st_mtime_ns

    def is_trusted(self, name: str) -> bool:
        """Whether the local file `name` was confirmed by its receipt not long ago, and not modified since."""
        copy, tag = self._copies / name, self._copies / TAGS / name
        try:
            if tag.read_text().partition("\n")[2] != CONFIRMED:
                return False
            confirmed, copied = tag.stat().st_mtime_ns, copy.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        return copied <= confirmed and 0 <= time.time() - confirmed / 1e9 < TRUSTED_SECONDS

    def confirm(self, name: str) -> None:
        """Note that the copy `name`, which is current, is what its receipt records."""
        tag = (self._copies / TAGS / name).read_text().partition("\n")[0]
        self._write_tag(name, tag, confirmed=True)

    def _download(self, name: str, found: Found) -> None:
        target = inside(self._copies, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = scratch_beside(target)
        LOGGER.debug("copying %s/%s (%d bytes) to %s", self.url, name, found.bytes, target)
        with actionable_errors(self.url):
            self._system.get_file(self._path(name), str(scratch))
        publish(scratch, target)
        self._write_tag(name, found.tag)

    def _write_tag(self, name: str, tag: str, *, confirmed: bool = False) -> None:
        text = f"{tag}\n{CONFIRMED}" if confirmed else tag
        publish_bytes(text.encode(), self._copies / TAGS / name)

    def _copies_of(self, prefix: str) -> set[str]:
        """Names of the copies whose objects are, or were, found by this prefix."""
        tags = self._copies / TAGS
        start = tags / prefix
        paths = [path for path in start.rglob("*") if path.is_file()] if start.is_dir() else [start]
        paths += start.parent.glob(f"{start.name}.*")
        return {path.relative_to(tags).as_posix() for path in paths if path.is_file()}


@lru_cache(maxsize=4)
def _client(protocol: str, settings: tuple[tuple[str, str], ...], process: int) -> Any:  # noqa: ANN401  as above
    """A client. Creating one takes 0.1 s, so a process reuses it while these environment variables are unchanged."""
    import fsspec  # imported here, because most stores are folders

    return fsspec.filesystem(protocol, use_listings_cache=False, skip_instance_cache=True)


def _found(info: dict[str, Any]) -> Found:
    """From fsspec's description of an object."""
    values = (info.get(name) for name in _TIME_FIELDS)
    modified = next((value for value in values if isinstance(value, datetime)), None)
    return Found(int(info["size"]), 0.0 if modified is None else modified.timestamp(), _tag(info))


def _tag(info: dict[str, Any]) -> str:
    for name in ("ETag", "etag", "md5Hash", "generation", "LastModified", "mtime", "created"):
        if info.get(name) is not None:
            return f"{name} {info[name]}"
    return f"size {info['size']}"
