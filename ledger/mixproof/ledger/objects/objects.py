"""Objects: a store's files on an object store, by any fsspec URL.

Object stores have neither rename nor folders. An object exists completely or not at all, so a file is published by
uploading it, and an output by uploading its receipt last. Listings are never cached: each access to a file costs one
HEAD request, each access to a folder one listing. Uploads use blocks of 32 MB, two at a time, so memory is bounded
for files of any size.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from mixproof.ledger.errors import RequestError
from mixproof.ledger.files import ByteRange, Found

from .object_errors import actionable_errors, check_no_password
from .transfer import is_damaged, repeat_damaged

LOGGER = logging.getLogger(__name__)
BLOCK_BYTES = 32 * 1024 * 1024
AT_ONCE_BYTES = 2 * BLOCK_BYTES
"""A smaller file is uploaded to S3 by one request, whose response has its tag."""
UPLOADS_AT_A_TIME = 2
READ_AT_A_TIME = 1000
"""Small objects that are requested together."""
SETTING_PREFIXES = ("AWS_", "AZURE_", "FSSPEC_", "GCSFS_", "GOOGLE_")
"""Prefixes of the environment variables that clients read."""
_TIME_FIELDS = ("LastModified", "updated", "last_modified", "mtime", "created")
LISTED_AT_ONCE = 1000
"""Objects in one response to a listing (S3's limit)."""
FIRST_DIGITS = re.compile("[0-9a-f]{8}")
PROBE = ".probe"
"""An object that need not exist: a request for it shows whether requests are allowed at all."""


class Objects:
    """The objects below a URL. Cheap to create and to pickle."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

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
        below = self.find_below(prefix)
        if below or not prefix:
            return below
        parent, _, last = prefix.rpartition("/")
        with actionable_errors(self.url):
            if self._is_s3:
                pages = self._pages(self._path(prefix), Delimiter="/")
                found = {name: one for page in pages for name, one in self._found_on(page).items()}
            else:
                exact = self.head(prefix)
                listing = self._system.find(self._path(parent), maxdepth=1, prefix=f"{last}.", detail=True)
                found = self._found_in(listing) | ({} if exact is None else {prefix: exact})
        return {name: one for name, one in found.items() if name == prefix or name.startswith(f"{prefix}.")}

    def find_below(self, folder: str) -> dict[str, Found]:
        """Every object below `folder`; "" is all."""
        return self.find_by_prefix(folder, "")

    def find_by_prefix(self, folder: str, prefix: str) -> dict[str, Found]:
        """Every object below `folder` whose name in that folder begins with `prefix`."""
        start = f"{folder}/{prefix}" if folder else prefix
        with actionable_errors(self.url):
            if self._is_s3:  # fsspec's `find` takes two more requests where there is nothing
                pages = self._pages(f"{self._path('')}/{start}")
                found = {name: one for page in pages for name, one in self._found_on(page).items()}
            else:
                options = {"prefix": prefix} if prefix else {}
                found = self._found_in(self._system.find(self._path(folder), detail=True, **options))
        return {name: one for name, one in found.items() if name.startswith(start)}

    def first_page(self, folder: str) -> tuple[dict[str, Found], float] | None:
        """The first objects below `folder`, by one request, and the share of its names that they cover.

        None if the client cannot list a page, or names are not keys, whose digits show the share.
        """
        if not self._is_s3:
            return None
        with actionable_errors(self.url):
            page = next(self._pages(f"{self._path(folder)}/"))
        found = self._found_on(page)
        if not page["IsTruncated"]:
            return found, 1.0
        last = next(reversed(found)).removeprefix(f"{folder}/")
        share = FIRST_DIGITS.match(last)
        return (found, (int(share[0], 16) + 1) / 16**8) if share else None

    @property
    def _is_s3(self) -> bool:
        return self.url.startswith("s3://")

    def _pages(self, start: str, **options: str) -> Iterator[dict[str, Any]]:
        """The responses of S3 to a listing of the objects whose path begins with `start`."""
        bucket, _, prefix = start.partition("/")
        page: dict[str, Any] = {"NextContinuationToken": None}
        while True:
            token = page["NextContinuationToken"]
            more = options if token is None else {**options, "ContinuationToken": token}
            page = self._system.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=LISTED_AT_ONCE, **more)
            yield page
            if not page["IsTruncated"]:
                return

    def _found_on(self, page: dict[str, Any]) -> dict[str, Found]:
        """The objects of a response of S3, by name."""
        base = self._path("")
        own = len(base) - len(base.partition("/")[0])  # a key has no bucket
        return {
            each["Key"][own:]: _found({**each, "size": each["Size"]})
            for each in page.get("Contents", ())
            if not each["Key"].endswith("/")  # what some tools make for a folder
        }

    def _found_in(self, listing: dict[str, Any]) -> dict[str, Found]:
        """The objects of a listing by fsspec, by name."""
        own = len(self._path("")) + 1
        return {path[own:]: _found(info) for path, info in listing.items() if info["type"] == "file"}

    def folders(self, name: str) -> list[str]:
        """Names of the entries directly below the folder `name`, sorted."""
        with actionable_errors(self.url):
            try:
                paths = self._system.ls(self._path(name), detail=False)
            except FileNotFoundError:
                return []
        return sorted({path.rstrip("/").rpartition("/")[2] for path in paths})

    def blocks(self, name: str) -> Iterator[bytes]:
        """Read an object in blocks from the object store itself, not from a copy.

        Raises:
            FileNotFoundError: when it does not exist.
        """
        with actionable_errors(self.url):
            size = int(self._system.info(self._path(name))["size"])
        for start in range(0, size, BLOCK_BYTES):
            yield self._range(name, start, min(start + BLOCK_BYTES, size))

    def _range(self, name: str, start: int, end: int) -> bytes:
        with actionable_errors(self.url):
            block: bytes = repeat_damaged(
                lambda: self._system.cat_file(self._path(name), start=start, end=end),
                lambda block: len(block) == end - start,
            )
        return block

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """The bytes of small objects, by many requests at a time; missing objects are left out.

        One request each: `cat` of fsspec, and reading in several pieces, would ask for their sizes first.
        """
        names_by_path = {self._path(name): name for name in names}
        found: dict[str, bytes] = {}
        for first in range(0, len(names_by_path), READ_AT_A_TIME):
            with actionable_errors(self.url):
                batch = list(names_by_path)[first : first + READ_AT_A_TIME]
                answers = repeat_damaged(
                    lambda: self._system.cat_ranges(batch, None, None, on_error="return", **self._in_pieces(1)),  # noqa: B023
                    lambda answers: not any(map(is_damaged, answers)),
                )
                for path, answer in zip(batch, answers, strict=True):
                    if isinstance(answer, Exception):
                        if isinstance(answer, FileNotFoundError):
                            continue
                        raise answer
                    found[names_by_path[path]] = answer
        return found

    def read_ranges(self, ranges: Sequence[ByteRange]) -> list[bytes]:
        """The bytes of ranges of objects, in order, by one request each; an empty range takes none.

        Raises:
            FileNotFoundError: when one of the objects does not exist.
        """
        found: list[bytes] = []
        requested = [each for each in ranges if each.end > each.start]
        for first in range(0, len(requested), READ_AT_A_TIME):
            batch = requested[first : first + READ_AT_A_TIME]
            paths = [self._path(each.name) for each in batch]
            starts, ends = [each.start for each in batch], [each.end for each in batch]
            with actionable_errors(self.url):
                answers = self._system.cat_ranges(paths, starts, ends, on_error="return", **self._in_pieces(1))
                for each, answer in zip(batch, answers, strict=True):
                    if isinstance(answer, Exception) and not is_damaged(answer):
                        raise answer
                    is_whole = isinstance(answer, bytes) and len(answer) == each.end - each.start
                    found.append(answer if is_whole else self._range(each.name, each.start, each.end))
        remaining = iter(found)
        return [next(remaining) if each.end > each.start else b"" for each in ranges]

    def download(self, name: str, found: Found, target: Path) -> None:
        """Copy an object, which was found, to the local file `target`.

        Raises:
            FileNotFoundError: when it no longer exists.
            RequestError: when the copy has the size neither of the object that was found nor of the one there is now.
        """
        with actionable_errors(self.url):
            repeat_damaged(
                lambda: self._system.get_file(self._path(name), str(target)),
                lambda _: target.stat().st_size == found.bytes,
            )
        size = target.stat().st_size
        now = found if size == found.bytes else self.head(name)
        if now is not None and now.bytes != size:
            raise RequestError(
                f"{self.url}/{name}: {size:,} of {now.bytes:,} bytes arrived, repeatedly; check the network and the "
                "endpoint (for S3 AWS_ENDPOINT_URL); finished outputs are kept"
            )

    def upload(self, source: Path, name: str) -> str:
        """Upload a local file as the object `name`, and return the object's tag."""
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
        return _tag(info)

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects, in no particular order; missing ones are ignored."""
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
        check_no_password(self.url)
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
