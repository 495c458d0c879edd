"""The files of each source, in order and with names that do not depend on where the corpora are.

A file's name is its path below the pattern's fixed prefix (for a plain path, its folder), so the same corpora in
another folder have the same names, order and result. If two files of a source would share a name, all names of the
source are relative to the deepest folder that contains every prefix.
"""

from __future__ import annotations

import glob
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.source import Source
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.spec_paths import unset_variables

from .formats import CONVERSATION_FILES, Compression, Format, format_of
from .matches import MatchedFile, match_files


@dataclass(frozen=True)
class InputFile:
    """One raw file of a source."""

    source: str
    name: str
    """Path below the pattern's fixed prefix, separated by `/`; files are sorted by it."""
    url: str
    """A local absolute path, or an fsspec URL."""
    bytes: int
    mtime_ns: int
    """0 if the file is not local."""
    format: Format
    compression: Compression | None
    tag: str = ""
    """What distinguishes a remote file's contents: its ETag or time; "" if its store gives neither."""
    ctime_ns: int = 0
    """Time of the last change of the inode; 0 if the file is not local."""
    attributes: tuple[InputFile, ...] = ()
    """Files of Dolma's attributes of its documents, one a tagger."""


WITH_HTML = frozenset({"warc", "jsonl", "parquet", "arrow"})
"""Formats whose records may be pages, for `extractor`."""
MEGATRON_ENDS = (".bin", ".idx")
DATATROVE_ENDS = (".ds", ".ds.index")
"""Endings of the ids and of the index of a tokenized dataset: Megatron's, and those of datatrove's tokenizer."""


def index_name(ids_name: str) -> str | None:
    """The name of the index that belongs to a file of ids; None for another file."""
    for ids, index in (MEGATRON_ENDS, DATATROVE_ENDS):
        if ids_name.endswith(ids):
            return ids_name.removesuffix(ids) + index
    return None


def find_files(spec: Spec, base: Path) -> dict[str, tuple[InputFile, ...]]:
    """Find every source's files, sorted by name; relative patterns are relative to the folder `base`.

    Raises:
        RequestError: no files matched, a file is listed twice, a folder in place of a file, an unknown format.
    """
    found: dict[str, tuple[InputFile, ...]] = {}
    taken: dict[Hashable, tuple[str, str]] = {}
    matches: list[MatchedFile]
    for name, source in spec.sources.items():
        if source.megatron is not None:
            where = spec.where("sources", name, "megatron")
            matches = _token_matches(source.megatron, base, where)
            for match in matches:  # tokens cannot be read in another way, and are not deduplicated
                _take(match, (("megatron", match.real),), taken, where)
            files = [_input_file(name, _name_of(match), match, "megatron", None) for match in matches]
            found[name] = tuple(sorted(files, key=lambda file: file.name))
            continue
        where = spec.where("sources", name, "files")
        matches = []
        for pattern in source.files:
            matched = list(match_files(pattern, base, trees=source.format == "code", where=where))
            if not matched:
                raise _no_match(pattern, base, where)
            matches += matched
        for match in matches:
            # another source may read the same bytes in another way (another field, other steps)
            ways = (
                match.real,
                source.text,
                source.extractor,
                repr(source.steps),
                source.kind and (source.template_text, source.supervise),
            )
            _take(match, (ways, (name, match.real)), taken, where)
        inputs = _inputs(name, source, matches, where)
        if source.attributes:
            inputs = tuple(_with_attributes(file, spec, base) for file in inputs)
        found[name] = inputs
    return found


def with_their_attributes(files: Iterable[InputFile]) -> Iterator[InputFile]:
    """Yield every file and, behind it, its files of attributes."""
    for file in files:
        yield file
        yield from file.attributes


def _with_attributes(file: InputFile, spec: Spec, base: Path) -> InputFile:
    """Find the attributes of a file of documents: one of the same name in each folder.

    Raises:
        RequestError: when there is none, or the documents are not JSON lines.
    """
    where = spec.where("sources", file.source, "attributes")
    if file.format != "jsonl":
        raise RequestError(f"{where}: {file.url}: attributes belong to JSON lines, not to {file.format}")
    found = []
    for folder in spec.sources[file.source].attributes:
        pattern = f"{folder.rstrip('/')}/{glob.escape(file.name)}"
        matches = list(match_files(pattern, base, trees=False, where=where))
        if not matches:
            raise RequestError(
                f"{where}: there is no file {folder.rstrip('/')}/{file.name} with the attributes of {file.url}; run "
                "the tagger on it, or remove the folder"
            )
        kind, compression = format_of(matches[0].location, "jsonl", where=where)
        found.append(_input_file(file.source, f"{folder}/{file.name}", matches[0], kind, compression))
    return replace(file, attributes=tuple(found))


def _take(match: MatchedFile, keys: Sequence[Hashable], taken: dict[Hashable, tuple[str, str]], where: str) -> None:
    """Note that a file is read under these keys.

    Raises:
        RequestError: when it is already.
    """
    for key in keys:
        if key in taken:
            other, pattern = taken[key]
            raise RequestError(
                f"{where}: {match.url} is listed twice: by {pattern!r} of {other} and by {match.pattern!r} of {where}; "
                "every file may be read once, so remove it from one of them"
            )
    for key in keys:
        taken[key] = (where, match.pattern)


def _no_match(pattern: str, base: Path, where: str) -> RequestError:
    start = f" (relative patterns start at {base.resolve()})"
    return RequestError(f"{where}: no files match {pattern!r}{start}{unset_variables(pattern)}")


def _token_matches(prefix: str, base: Path, where: str) -> list[MatchedFile]:
    """Both files of every pair that a prefix, or a glob of prefixes, matches; datatrove's prefixes end in `.ds`."""
    ids, index = DATATROVE_ENDS if prefix.endswith(DATATROVE_ENDS) else MEGATRON_ENDS
    pattern = prefix.removesuffix(index).removesuffix(ids)
    found = {end: list(match_files(pattern + end, base, trees=False, where="")) for end in (ids, index)}
    stems = {end: {match.url[: -len(end)] for match in matches} for end, matches in found.items()}
    if not stems[ids] and not stems[index]:
        raise RequestError(
            f"{where}: no files {pattern}{ids} and {pattern}{index} (relative prefixes start at {base.resolve()})"
            f"{unset_variables(pattern)}"
        )
    for stem in sorted(stems[ids] ^ stems[index]):
        found_end, missing = (ids, index) if stem in stems[ids] else (index, ids)
        raise RequestError(f"{where}: {stem}{found_end} exists but {stem}{missing} does not; a dataset needs both")
    return [match for matches in found.values() for match in matches]


def find_others(patterns: Sequence[str], base: Path, *, where: str) -> tuple[InputFile, ...]:
    """Find the files that a key outside the sources lists, each once, sorted by name; `where` is the key.

    Raises:
        RequestError: as in `find_files`, except that a file may be matched twice.
    """
    matches: dict[str, MatchedFile] = {}
    for pattern in patterns:
        matched = list(match_files(pattern, base, trees=False, where=where))
        if not matched:
            raise _no_match(pattern, base, where)
        for match in matched:
            matches.setdefault(match.real, match)
    inputs = _inputs(where, Source(), list(matches.values()), where)
    for file in inputs:
        if file.format not in ("jsonl", "parquet"):
            raise RequestError(f"{where}: {file.url}: {file.format} has no fields; give JSON lines or Parquet")
    return inputs


def _inputs(name: str, source: Source, matches: Sequence[MatchedFile], where: str) -> tuple[InputFile, ...]:
    names = [_name_of(match) for match in matches]
    if len(set(names)) < len(names):
        ancestor = _common_folder([match.prefix for match in matches])
        names = [match.location[len(ancestor) :] for match in matches]
    if len(set(names)) < len(names):
        raise RequestError(f"{where}: files on two file systems have the same path; make them two sources")
    inputs = []
    for match, file_name in zip(matches, names, strict=True):
        try:
            match.url.encode()
        except UnicodeEncodeError:
            raise RequestError(f"{where}: {match.url!r}: the file's name is not valid UTF-8; rename it") from None
        kind, compression = _format_of(match.location, source, where)
        if source.extractor is not None and kind not in WITH_HTML:
            raise RequestError(f"{where}: {match.url}: {kind} has no HTML to extract a text from; remove `extractor`")
        inputs.append(_input_file(name, file_name, match, kind, compression))
    return tuple(sorted(inputs, key=lambda file: file.name))


def _format_of(location: str, source: Source, where: str) -> tuple[Format, Compression | None]:
    if source.kind is None:
        return format_of(location, cast("Format | None", source.format), where=where)
    kind, compression = format_of(location, None, where=where)
    if kind not in CONVERSATION_FILES:
        raise RequestError(f"{where}: {location}: {source.kind} needs JSON lines, Parquet or Arrow, not {kind}")
    return kind, compression


def _input_file(source: str, name: str, match: MatchedFile, kind: Format, compression: Compression | None) -> InputFile:
    return InputFile(source, name, match.url, match.bytes, match.mtime_ns, kind, compression, match.tag, match.ctime_ns)


def _name_of(match: MatchedFile) -> str:
    return match.location[len(match.prefix) :]


def _common_folder(prefixes: Sequence[str]) -> str:
    common = []
    for parts in zip(*(prefix.split("/")[:-1] for prefix in prefixes), strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return "".join(f"{part}/" for part in common)
