"""Matches: the files that a pattern names, on this machine or on any file system that fsspec opens.

`*`, `?` and `[...]` match inside one part of a path and `**` any number of parts; like a shell's, they do not
match a leading dot. A path that exists as it is spelled is that file, whatever signs are in it. Folders that
are symbolic links are followed, except into a folder above. A folder or a dead link whose name says that it is data
is an error: passed over, its documents would be missing without a word.

A pattern may be any URL that fsspec opens, and a chain (`zip://**/*.jsonl::s3://bucket/*.zip`): the files inside every
archive that the rest matches, named by the archive's place and their own.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixproof.ledger.errors import RequestError
from mixproof.pipeline.readers.remote import is_remote, opened_filesystem, size_of, tag_of, told

from .formats import kind_by_name


@dataclass(frozen=True)
class Match:
    """A file that a pattern names."""

    pattern: str
    prefix: str
    """The fixed part of the file's place; ends with `/`."""
    place: str
    """Its URL or path; in an archive, the archive's and the path within."""
    url: str
    real: str
    """The same for two ways to one file."""
    bytes: int
    mtime_ns: int
    tag: str = ""


def match_files(pattern: str, base: Path, *, trees: bool, where: str) -> Iterator[Match]:
    """Find the files of a pattern; `trees`: a folder stands for all files in it.

    Raises:
        RequestError: when what matches is no file, or cannot be looked at; `where` is the key with the pattern.
    """
    if is_remote(pattern) and not pattern.startswith("file://"):
        yield from _match_remote(pattern, base, trees=trees, where=where)
        return
    path = os.path.abspath(base / Path(pattern.removeprefix("file://")).expanduser())  # noqa: PTH100 - keeps links
    if Path(path).is_dir():
        if not trees:
            raise RequestError(
                f"{where}: {pattern!r} is a folder; name its files, as in '{pattern.rstrip('/')}/**/*.jsonl', "
                "or say `format: code` to take every file in it as a document"
            )
        fixed, parts = path, ["**", "*"]
    elif Path(path).is_file():
        yield _local(pattern, path[: path.rfind("/") + 1], path)
        return
    else:
        fixed, parts = _split(path)
    for relative in _walk(fixed or "/", parts, where="" if trees else where):
        yield _local(pattern, fixed.rstrip("/") + "/", f"{fixed.rstrip('/')}/{relative}")


def _local(pattern: str, prefix: str, path: str) -> Match:
    status = Path(path).stat()
    return Match(pattern, prefix, path, path, os.path.realpath(path), status.st_size, status.st_mtime_ns)


def _split(path: str) -> tuple[str, list[str]]:
    """Split a pattern into the parts before the first sign of a glob and the rest."""
    parts = path.split("/")
    first = next((index for index, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts) - 1)
    return "/".join(parts[:first]), parts[first:]


def _walk(folder: str, pattern: Sequence[str], *, where: str) -> Iterator[str]:
    """Files that fit; with `where`, anything else that looks like one is an error rather than passed over."""
    deepest = None if "**" in pattern else len(pattern)
    pending: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [("", (), ())]
    while pending:
        below, parts, above = pending.pop()
        place = Path(folder, below)
        real = os.path.realpath(place)
        if real in above or not place.is_dir():
            continue
        for entry in _entries(place):
            inner = (*parts, entry.name)
            kind = _kind(entry)
            if kind == "a folder" and (deepest is None or len(inner) < deepest):
                pending.append(("/".join(inner), inner, (*above, real)))
            if not _fits(inner, pattern):
                continue
            if kind == "a file":
                yield "/".join(inner)
            elif where and (kind != "a folder" or kind_by_name(entry.name)):
                raise RequestError(f"{where}: {entry.path} is {kind}, not a file; move it, or name the files below it")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise RequestError(f"{folder}: cannot be read: {error.strerror}") from error


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():
            return "a folder"
        if entry.is_file():
            return "a file"
    except OSError:  # a link that leads to itself
        return "a link that leads nowhere"
    return "a link that leads nowhere" if entry.is_symlink() else "no regular file"


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        if _fits(parts, pattern[1:]):
            return True
        return bool(parts) and not parts[0].startswith(".") and _fits(parts[1:], pattern)
    if not parts or (parts[0].startswith(".") and not pattern[0].startswith(".")):
        return False
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _match_remote(pattern: str, base: Path, *, trees: bool, where: str) -> Iterator[Match]:
    head, chained, rest = pattern.partition("::")
    if not chained:
        yield from _match_in(pattern, pattern, None, trees=trees, where=where)
    elif "://" not in head:  # a cache; files are copied whole as it is
        yield from match_files(rest, base, trees=trees, where=where)
    else:
        for outer in match_files(rest, base, trees=False, where=where):
            yield from _match_in(pattern, f"{head}::{outer.url}", outer, trees=trees, where=where)


def _match_in(pattern: str, url: str, outer: Match | None, *, trees: bool, where: str) -> Iterator[Match]:
    """Files of one file system; `outer` is the archive that it is, where it is one."""
    filesystem, path = opened_filesystem(url)
    with told(f"{where}: {pattern}"):
        _check_names(filesystem, outer, where)
        globbed = re.search(r"[*?\[]", path) is not None
        if not filesystem.exists(path):
            if not globbed:
                return
        elif filesystem.isfile(path):
            yield _remote(filesystem, pattern, path[: path.rfind("/") + 1], path, filesystem.info(path), outer)
            return
        elif not trees and not globbed:
            raise RequestError(f"{where}: {pattern!r} is a folder; name its files by adding '/**/*.jsonl'")
        fixed, parts = (path.rstrip("/"), ["**", "*"]) if not globbed else _split(path)
        deepest = None if "**" in parts else len(parts)
        for place, info in filesystem.find(fixed, maxdepth=deepest, detail=True).items():
            below = place[len(fixed) :].lstrip("/")
            # an object whose name ends with a slash stands for an empty folder
            if info["type"] == "file" and not place.endswith("/") and _fits(below.split("/"), parts):
                yield _remote(filesystem, pattern, f"{fixed}/" if fixed else "", place, info, outer)


def _check_names(filesystem: Any, outer: Match | None, where: str) -> None:  # noqa: ANN401 - fsspec ships no types
    """Refuse a zip file with two members of one name, of which only the last can be opened by it."""
    archive = getattr(filesystem, "zip", None)
    if outer is None or archive is None:
        return
    names = Counter(name for name in archive.namelist() if not name.endswith("/"))
    name, times = max(names.items(), key=lambda item: item[1], default=("", 0))
    if times > 1:
        raise RequestError(f"{where}: {outer.url} holds {times} files of the name {name!r}; unpack it and rename them")


def _remote(
    filesystem: Any,  # noqa: ANN401 - fsspec ships no types
    pattern: str,
    prefix: str,
    path: str,
    info: dict[str, Any],
    outer: Match | None,
) -> Match:
    if outer is None:
        url: str = filesystem.unstrip_protocol(path)
        place, tag = url, tag_of(info)
    else:
        url = f"{filesystem.unstrip_protocol(path)}::{outer.url}"
        place, tag = f"{outer.place}/{path}", tag_of(info, (outer.bytes, outer.tag or str(outer.mtime_ns)))
    head = place[: len(place) - len(path)] + prefix
    return Match(pattern, head, place, url, url, size_of(info, url), 0, tag)
