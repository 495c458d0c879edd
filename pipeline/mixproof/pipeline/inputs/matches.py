"""The files that a pattern matches, on this machine or on any file system that fsspec opens.

`*`, `?` and `[...]` match within one part of a path and `**` matches any number of parts; as in a shell, they do not
match a leading dot. A path that exists exactly as written is that file, even if it contains glob characters. Symbolic
links to folders are followed, except into a parent folder. A folder or broken link whose name looks like data is an
error: if it were skipped, its documents would silently be missing.

A pattern may be any URL that fsspec opens, or a chain (`zip://**/*.jsonl::s3://bucket/*.zip`): the files inside every
archive that the second part matches, named by the archive's path and their own.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from mixproof.ledger.errors import RequestError
from mixproof.ledger.shown_text import unsigned
from mixproof.pipeline.readers.remote import (
    can_be_chained,
    is_remote,
    opened_filesystem,
    quoted,
    size_of,
    store_errors,
    tag_of,
)

from .formats import kind_by_name

_GLOB = re.compile(r"[*?\[]")
_ESCAPED = re.compile(r"\[[*?\[]\]")
"""A character of globs that stands for itself, as `glob.escape` writes it."""


@dataclass(frozen=True)
class MatchedFile:
    """A file that a pattern matches."""

    pattern: str
    prefix: str
    """The fixed part of the file's location; ends with `/`."""
    location: str
    """Its URL or path; in an archive, that of the archive and the path in it."""
    url: str
    real: str
    """Equal for two paths to one file."""
    bytes: int
    mtime_ns: int
    ctime_ns: int
    tag: str = ""


def match_files(pattern: str, base: Path, *, trees: bool, where: str) -> Iterator[MatchedFile]:
    """Find the files of a pattern; with `trees`, a folder stands for all files in it.

    Args:
        pattern: a path or URL with globs; `[*]`, `[?]` and `[[]` stand for the characters themselves.
        base: the folder at which a relative pattern starts; characters of globs in it stand for themselves.
        trees: whether a folder may stand for its files.
        where: the key with the pattern, for errors.

    Raises:
        RequestError: when a match is not a file or cannot be read.
    """
    if is_remote(pattern) and not pattern.startswith("file://"):
        yield from _match_remote(pattern, base, trees=trees, where=where)
        return
    written = Path(pattern.removeprefix("file://")).expanduser()
    path = os.path.abspath(base / written)  # noqa: PTH100 - keeps links
    fixed, parts = _split_local(base, written)
    if not parts and not Path(path).exists():
        path = fixed
    if Path(path).is_dir():
        if not trees:
            raise RequestError(
                f"{where}: {pattern!r} is a folder; name its files, as in '{pattern.rstrip('/')}/**/*.jsonl', "
                "or set `format: code` to read every file in it as a document"
            )
        fixed, parts = path, ["**", "*"]
    elif Path(path).is_file():
        yield _local(pattern, path[: path.rfind("/") + 1], path)
        return
    for relative in _walk(fixed or "/", parts, where="" if trees else where):
        yield _local(pattern, fixed.rstrip("/") + "/", f"{fixed.rstrip('/')}/{relative}")


def _local(pattern: str, prefix: str, path: str) -> MatchedFile:
    status = os.stat(path)  # noqa: PTH116  a Path per file would take as long as the call itself
    real = f"inode {status.st_dev}:{status.st_ino}"
    return MatchedFile(pattern, prefix, path, path, real, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _split_local(base: Path, written: Path) -> tuple[str, list[str]]:
    """Split a pattern into its fixed folder and the parts from the first glob on; none if there is no glob.

    Only what is written in the pattern may be a glob, not the folder it is relative to, nor a part at its start that
    exists as it is written.
    """
    fixed = [] if written.is_absolute() else [part for part in os.path.abspath(base).split("/") if part]  # noqa: PTH100
    parts: list[str] = []
    for part in str(written).split("/"):
        if part == "..":
            (parts or fixed or [""]).pop()
        elif part not in ("", "."):
            literal = _literal(part)
            if literal is None and not parts and Path("/", *fixed, part).exists():
                literal = part
            if parts or literal is None:
                parts.append(part)
            else:
                fixed.append(literal)
    return "/" + "/".join(fixed), parts


def _literal(part: str) -> str | None:
    """A part of a pattern without its escapes; None if it is a glob."""
    bare = _ESCAPED.sub("", part)
    return None if _GLOB.search(bare) else _ESCAPED.sub(lambda found: found[0][1], part)


def _split(path: str) -> tuple[str, list[str]]:
    """Split a pattern of another file system into its fixed folder and the parts from the first glob on."""
    parts = path.split("/")
    first = next((index for index, part in enumerate(parts) if _literal(part) is None), len(parts) - 1)
    return "/".join(_literal(part) or "" for part in parts[:first]), parts[first:]


def _walk(folder: str, pattern: Sequence[str], *, where: str) -> Iterator[str]:
    """Files that match; with `where`, anything else that looks like data is an error rather than skipped."""
    deepest = None if "**" in pattern else len(pattern)
    pending: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [("", (), ())]
    while pending:
        below, parts, above = pending.pop()
        current = Path(folder, below)
        real = os.path.realpath(current)
        if real in above or not current.is_dir():
            continue
        for entry in _entries(current):
            inner = (*parts, entry.name)
            kind = _kind(entry)
            if kind == "a folder" and (deepest is None or len(inner) < deepest):
                pending.append(("/".join(inner), inner, (*above, real)))
            if not _fits(inner, pattern):
                continue
            if kind == "a file":
                yield "/".join(inner)
            elif where and (kind != "a folder" or kind_by_name(entry.name)):
                fix = "patterns must match files only, so move it or change the pattern"
                raise RequestError(f"{where}: {entry.path} is {kind}; {fix}")


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
    except OSError:  # a link to itself
        return "a broken link"
    return "a broken link" if entry.is_symlink() else "not a regular file"


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


def _match_remote(pattern: str, base: Path, *, trees: bool, where: str) -> Iterator[MatchedFile]:
    head, chained, archives = pattern.partition("::")
    if not chained:
        yield from _match_in(pattern, pattern, None, trees=trees, where=where)
    elif "://" not in head:  # a cache protocol; files are copied as a whole anyway
        yield from match_files(archives, base, trees=trees, where=where)
    else:
        for outer in match_files(archives, base, trees=False, where=where):
            if not can_be_chained(outer.url):
                raise RequestError(f"{where}: {outer.url}: an archive's path must not contain '::'; rename it")
            yield from _match_in(pattern, f"{head}::{outer.url}", outer, trees=trees, where=where)


def _match_in(pattern: str, url: str, outer: MatchedFile | None, *, trees: bool, where: str) -> Iterator[MatchedFile]:
    """Files of one file system; `outer` is the archive if the file system is one."""
    filesystem, path = opened_filesystem(url)
    with store_errors(f"{where}: {pattern}"):
        _check_names(filesystem, outer, where)
        is_web = pattern.startswith(("http://", "https://"))
        named = path.partition("?")[0] if is_web else path  # there a question mark begins the query
        literal = [_literal(part) for part in named.split("/")]
        has_glob = None in literal
        is_page = is_web and not has_glob
        if not has_glob and not _exists(filesystem, path, is_page=is_page):
            path = "/".join(part or "" for part in literal) + path[len(named) :]
        if not _exists(filesystem, path, is_page=is_page):
            if not has_glob:
                return
        elif filesystem.isfile(path):
            yield _remote(filesystem, pattern, path[: named.rfind("/") + 1], path, filesystem.info(path), outer)
            return
        elif not trees and not has_glob:
            raise RequestError(f"{where}: {pattern!r} is a folder; list its files by adding '/**/*.jsonl'")
        fixed, parts = (path.rstrip("/"), ["**", "*"]) if not has_glob else _split(path)
        deepest = None if "**" in parts else len(parts)
        for found, info in filesystem.find(fixed, maxdepth=deepest, detail=True).items():
            below = found[len(fixed) :].lstrip("/")
            # an object whose name ends with a slash represents an empty folder
            if info.get("type", "file") == "file" and not found.endswith("/") and _fits(below.split("/"), parts):
                yield _remote(filesystem, pattern, f"{fixed}/" if fixed else "", found, info, outer)


def _exists(filesystem: Any, path: str, *, is_page: bool) -> bool:  # noqa: ANN401 - fsspec ships no types
    """Whether a path exists. Of a page, fsspec would say that it does not exist if its server cannot be reached.

    Raises:
        Exception: the client's, when the server of a page does not answer, or answers neither with it nor with 404.
    """
    if not is_page:
        return bool(filesystem.exists(path))
    cause: BaseException | None = None
    try:
        filesystem.info(path)
    except FileNotFoundError as error:
        cause = error.__cause__
        if cause is None or getattr(cause, "status", None) in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            return False
    if cause is not None:  # raised here, because within the handler it would become its own context
        raise cause
    return True


def _check_names(filesystem: Any, outer: MatchedFile | None, where: str) -> None:  # noqa: ANN401 - fsspec ships no types
    """Refuse a zip file with two members of one name, because only the last of them can be opened."""
    archive = getattr(filesystem, "zip", None)
    if outer is None or archive is None:
        return
    names = Counter(name for name in archive.namelist() if not name.endswith("/"))
    name, count = max(names.items(), key=lambda item: item[1], default=("", 0))
    if count > 1:
        raise RequestError(f"{where}: {outer.url} holds {count} files named {name!r}; extract it and rename them")


def _remote(
    filesystem: Any,  # noqa: ANN401 - fsspec ships no types
    pattern: str,
    prefix: str,
    path: str,
    info: dict[str, Any],
    outer: MatchedFile | None,
) -> MatchedFile:
    if outer is None:
        url = quoted(filesystem.unstrip_protocol(path))
        whole, tag = filesystem.unstrip_protocol(path), tag_of(info)
        location, head = unsigned(whole), unsigned(whole[: len(whole) - len(path)] + prefix)
    else:
        url = f"{quoted(filesystem.unstrip_protocol(path))}::{outer.url}"
        location = f"{outer.location}/{path}"
        head = location[: len(location) - len(path)] + prefix
        tag = tag_of(info, (outer.bytes, outer.tag or f"{outer.mtime_ns} {outer.ctime_ns}"))
    return MatchedFile(pattern, head, location, url, url, size_of(info, url), 0, 0, tag)
