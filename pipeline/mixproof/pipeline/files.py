"""Which files make up each source: patterns to an ordered list with names that do not depend on the place.

A file's name is its path below the pattern's fixed prefix (a plain path's prefix is its folder), so the same
corpora at another place have the same names, order and result. Where two files of a source would share a
name, all names of the source become relative to the deepest folder that holds every prefix.

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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.spec import Source, Spec

from .readers.remote import is_remote, opened_filesystem, size_of, tag_of, told

Format = Literal["jsonl", "parquet", "arrow", "text", "warc", "wet", "code", "megatron"]
Compression = Literal["gz", "zst"]

TREES = frozenset({"code", "text"})
"""Formats in which a file is one document."""
_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
    ".warc": "warc",
    ".wet": "wet",
}
_WHOLE: frozenset[Format] = frozenset({"parquet", "arrow", "code"})
"""Never inside gzip or zstd: they pack themselves, or are taken as they are."""
_PACKED: dict[str, Compression] = {".gz": "gz", ".zst": "zst"}


@dataclass(frozen=True)
class InputFile:
    """One raw file of a source."""

    source: str
    name: str
    """Path below the glob's fixed prefix, `/` between its parts; the file's place in the source's order."""
    url: str
    """A local absolute path, or an fsspec URL."""
    bytes: int
    mtime_ns: int
    """0 where the file is not local."""
    format: Format
    compression: Compression | None
    tag: str = ""
    """What tells a remote file's contents apart: its ETag or time; "" where its store tells nothing."""


@dataclass(frozen=True)
class _Match:
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


def find_files(spec: Spec, base: Path) -> dict[str, tuple[InputFile, ...]]:
    """Find every source's files, sorted by name; relative patterns are relative to the folder `base`.

    Raises:
        RequestError: no files matched, the same file twice, a folder where a file should be, a format that
            the name does not tell.
    """
    found: dict[str, tuple[InputFile, ...]] = {}
    taken: dict[tuple[object, ...], tuple[str, str]] = {}
    for name, source in spec.sources.items():
        if source.megatron is not None:
            found[name] = _token_files(name, source.megatron, base, spec.where("sources", name, "megatron"))
            continue
        where = spec.where("sources", name, "files")
        matches: list[_Match] = []
        for pattern in source.files:
            matched = list(_match(pattern, base, trees=source.format == "code", where=where))
            if not matched:
                raise RequestError(f"{where}: no files match {pattern!r} (relative patterns start at {base})")
            matches += matched
        for match in matches:
            # the same bytes read another way (another field, other steps) are another source's right
            ways = (match.real, source.text, repr(source.steps))
            for key in (ways, (name, match.real)):
                if key in taken:
                    other, pattern = taken[key]
                    raise RequestError(_twice(match, where, other, pattern))
            taken[ways] = taken[name, match.real] = (where, match.pattern)
        found[name] = _inputs(name, source, matches, where)
    return found


def _token_files(name: str, prefix: str, base: Path, where: str) -> tuple[InputFile, ...]:
    """Both files of every pair that a prefix, or a glob of prefixes, names."""
    pattern = prefix.removesuffix(".bin").removesuffix(".idx")
    found = {end: list(_match(pattern + end, base, trees=False, where="")) for end in (".bin", ".idx")}
    stems = {end: {match.url[: -len(end)] for match in matches} for end, matches in found.items()}
    if not stems[".bin"] and not stems[".idx"]:
        raise RequestError(f"{where}: no files {pattern}.bin and {pattern}.idx (relative prefixes start at {base})")
    for stem in sorted(stems[".bin"] ^ stems[".idx"]):
        there, missing = (".bin", ".idx") if stem in stems[".bin"] else (".idx", ".bin")
        raise RequestError(f"{where}: {stem}{there} is there and {stem}{missing} is not; a dataset has both")
    files = [
        InputFile(
            name, match.place[len(match.prefix) :], match.url, match.bytes, match.mtime_ns, "megatron", None, match.tag
        )
        for matches in found.values()
        for match in matches
    ]
    return tuple(sorted(files, key=lambda file: file.name))


def find_others(patterns: Sequence[str], base: Path, *, where: str) -> tuple[InputFile, ...]:
    """Find the files that a key other than a source's names, once each, sorted by name; `where` is the key.

    Raises:
        RequestError: as `find_files` does, but a file may be matched twice.
    """
    matches: dict[str, _Match] = {}
    for pattern in patterns:
        matched = list(_match(pattern, base, trees=False, where=where))
        if not matched:
            raise RequestError(f"{where}: no files match {pattern!r} (relative patterns start at {base})")
        for match in matched:
            matches.setdefault(match.real, match)
    inputs = _inputs(where, Source(), list(matches.values()), where)
    for file in inputs:
        if file.format not in ("jsonl", "parquet"):
            raise RequestError(
                f"{where}: {file.url}: {file.format} has no fields to look into; give JSON lines or Parquet"
            )
    return inputs


def _twice(match: _Match, where: str, other: str, pattern: str) -> str:
    return (
        f"{where}: {match.url} is listed twice: by {pattern!r} of {other} and by {match.pattern!r} of {where}; "
        "every file may be read once, so take it out of one of them"
    )


def _inputs(name: str, source: Source, matches: Sequence[_Match], where: str) -> tuple[InputFile, ...]:
    names = [match.place[len(match.prefix) :] for match in matches]
    if len(set(names)) < len(names):
        ancestor = _common_folder([match.prefix for match in matches])
        names = [match.place[len(ancestor) :] for match in matches]
    if len(set(names)) < len(names):
        raise RequestError(f"{where}: files on two file systems have the same path; make two sources")
    inputs = []
    for match, file_name in zip(matches, names, strict=True):
        try:
            file_name.encode()
        except UnicodeEncodeError:
            raise RequestError(f"{where}: {file_name!r}: the file's name is not valid UTF-8") from None
        kind, compression = _format(match.place, source.format, where=where)
        inputs.append(InputFile(name, file_name, match.url, match.bytes, match.mtime_ns, kind, compression, match.tag))
    return tuple(sorted(inputs, key=lambda file: file.name))


def _common_folder(prefixes: Sequence[str]) -> str:
    common = []
    for parts in zip(*(prefix.split("/")[:-1] for prefix in prefixes), strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return "".join(f"{part}/" for part in common)


def _format(url: str, declared: Format | None, *, where: str) -> tuple[Format, Compression | None]:
    compression = _PACKED.get(os.path.splitext(url.lower())[1])  # noqa: PTH122 - a URL is no Path
    if declared is not None:
        return declared, None if declared in _WHOLE else compression
    kind = _kind_by_name(url)
    if kind is None or (compression and kind in _WHOLE):
        raise RequestError(
            f"{where}: {url}: its name does not tell the format; known are .jsonl, .ndjson, .json, .txt, .warc and "
            ".wet, each also with .gz or .zst, and .parquet and .arrow; else say `format: jsonl`, `parquet`, `arrow`, "
            "`text` (a file a document), `warc`, `wet` or `code` (every file a document)"
        )
    return kind, compression


def _match(pattern: str, base: Path, *, trees: bool, where: str) -> Iterator[_Match]:
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


def _local(pattern: str, prefix: str, path: str) -> _Match:
    status = Path(path).stat()
    return _Match(pattern, prefix, path, path, os.path.realpath(path), status.st_size, status.st_mtime_ns)


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
            elif where and (kind != "a folder" or _kind_by_name(entry.name)):
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


def _kind_by_name(name: str) -> Format | None:
    stem, suffix = os.path.splitext(name.lower())  # noqa: PTH122 - a name is no Path
    return _SUFFIXES.get(os.path.splitext(stem)[1] if suffix in _PACKED else suffix)  # noqa: PTH122 - as above


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


def _match_remote(pattern: str, base: Path, *, trees: bool, where: str) -> Iterator[_Match]:
    head, chained, rest = pattern.partition("::")
    if not chained:
        yield from _match_in(pattern, pattern, None, trees=trees, where=where)
    elif "://" not in head:  # a cache; files are copied whole as it is
        yield from _match(rest, base, trees=trees, where=where)
    else:
        for outer in _match(rest, base, trees=False, where=where):
            yield from _match_in(pattern, f"{head}::{outer.url}", outer, trees=trees, where=where)


def _match_in(pattern: str, url: str, outer: _Match | None, *, trees: bool, where: str) -> Iterator[_Match]:
    """Files of one file system; `outer` is the archive that it is, where it is one."""
    filesystem, path = opened_filesystem(url)
    with told(f"{where}: {pattern}"):
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


def _remote(
    filesystem: Any,  # noqa: ANN401 - fsspec ships no types
    pattern: str,
    prefix: str,
    path: str,
    info: dict[str, Any],
    outer: _Match | None,
) -> _Match:
    if outer is None:
        url: str = filesystem.unstrip_protocol(path)
        place, tag = url, tag_of(info)
    else:
        url = f"{filesystem.unstrip_protocol(path)}::{outer.url}"
        place, tag = f"{outer.place}/{path}", tag_of(info, (outer.bytes, outer.tag or str(outer.mtime_ns)))
    head = place[: len(place) - len(path)] + prefix
    return _Match(pattern, head, place, url, url, size_of(info, url), 0, tag)
