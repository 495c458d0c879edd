"""The files below a folder, in groups that can be sources: of one folder and one format.

A group is what one source can read: files below one folder of the surveyed folder, or files directly in it whose names
differ in a number only, all of one format. Hidden files and folders and mixproof's own stores are passed over, as
patterns of a spec pass over what is hidden.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.pipeline.inputs.formats import Format, kind_by_name

MOST_FILES = 500_000
"""More are refused, because each takes a line of memory and a look."""
CODE = frozenset(
    f".{name}"
    for name in (
        *(
            "c",
            "cc",
            "cpp",
            "cs",
            "cu",
            "go",
            "h",
            "hpp",
            "hs",
            "java",
            "jl",
            "js",
            "kt",
            "lua",
            "m",
            "php",
            "pl",
            "py",
        ),
        *("r", "rb", "rs", "scala", "sh", "sql", "swift", "ts"),
    )
)
PROSE = frozenset({".md", ".rst", ".tex"})
"""Read as text, a document a file, where the spec says `format: text`."""
PACKINGS = (".gz", ".zst")


@dataclass(frozen=True)
class ListedFile:
    """One file."""

    name: str
    """Path below the surveyed folder, with `/`."""
    bytes: int

    @property
    def suffix(self) -> str:
        """Its ending, with that of its compression: `.jsonl.gz`."""
        stem, last = os.path.splitext(self.name)  # noqa: PTH122  a name is not a Path
        return os.path.splitext(stem)[1] + last if last.lower() in PACKINGS else last  # noqa: PTH122


@dataclass(frozen=True)
class Group:
    """Files that may be a source."""

    folder: str
    """Folder directly below the surveyed one; "" for files directly in it."""
    stem: str
    """For files directly in the surveyed folder: what their names begin with, without a number."""
    format: Format
    files: tuple[ListedFile, ...]

    @property
    def bytes(self) -> int:
        """Of all files, as they are on the disk."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True)
class Skipped:
    """Files that are in no source."""

    what: str
    """One of them, or their folder."""
    files: int
    reason: str


@dataclass(frozen=True)
class Listing:
    """Everything below a folder."""

    root: Path
    groups: tuple[Group, ...]
    skipped: tuple[Skipped, ...]


def list_folder(folder: Path) -> Listing:
    """List a folder, or a single file.

    Raises:
        RequestError: when there is no such folder, it holds no file, or more than `MOST_FILES`.
    """
    if not folder.exists():
        raise RequestError(f"{folder}: there is no such folder{_meant(folder)}")
    root = folder if folder.is_dir() else folder.parent
    groups: dict[tuple[str, str, Format], list[ListedFile]] = {}
    others: dict[str, list[str]] = {}
    number = 0
    for path in _walk(folder) if folder.is_dir() else [folder]:
        number += 1
        if number > MOST_FILES:
            raise RequestError(f"{folder}: more than {MOST_FILES:,} files; give init one of its folders")
        file = ListedFile(path.relative_to(root).as_posix(), path.stat().st_size)
        kind = _kind(file)
        if kind is None:
            others.setdefault(file.suffix or "no ending", []).append(file.name)
        else:
            groups.setdefault((*_place(file), kind), []).append(file)
    if not number:
        raise RequestError(f"{folder}: holds no files (hidden ones do not count)")
    found = tuple(
        Group(*key, tuple(sorted(files, key=lambda file: file.name))) for key, files in sorted(groups.items())
    )
    skipped = tuple(Skipped(names[0], len(names), _unknown(suffix)) for suffix, names in sorted(others.items()))
    return Listing(root, tuple(found), skipped)


def _walk(folder: Path) -> Iterator[Path]:
    """Every file below a folder; links are followed, except into a folder that is being walked."""
    pending: list[tuple[Path, tuple[str, ...]]] = [(folder, (os.path.realpath(folder),))]
    while pending:
        current, above = pending.pop()
        with os.scandir(current) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith(".") or not _spellable(entry.name):
                    continue
                path = Path(entry.path)
                if entry.is_file():
                    yield path
                elif (
                    entry.is_dir() and not (path / "builds" / "by-spec").is_dir() and os.access(path, os.R_OK | os.X_OK)
                ):
                    real = os.path.realpath(path)
                    if real not in above:
                        pending.append((path, (*above, real)))


def _enters(folder: Path) -> bool:
    """Whether a folder can be listed and is not a mixproof store."""
    return os.access(folder, os.R_OK | os.X_OK) and not (folder / "builds" / "by-spec").is_dir()


def _spellable(name: str) -> bool:
    """Whether a name is UTF-8, which a spec must be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(file: ListedFile) -> Format | None:
    suffix = file.suffix.lower()
    if suffix in CODE:
        return "code"
    if suffix in PROSE:
        return "text"
    kind = kind_by_name(file.name)
    return None if kind in ("parquet", "arrow") and suffix.endswith(PACKINGS) else kind


def _place(file: ListedFile) -> tuple[str, str]:
    folder, slash, _ = file.name.partition("/")
    return (folder, "") if slash else ("", stem_of(file))


def stem_of(file: ListedFile) -> str:
    """A file's name without folder, ending and number: `web` of `web-00012-of-00100.jsonl.gz`."""
    name = file.name.rpartition("/")[2].removesuffix(file.suffix)
    return re.sub(r"[-_.]?(part|shard)?[-_.]?\d+([-_.]of[-_.]\d+)?$", "", name, flags=re.IGNORECASE)


def _unknown(suffix: str) -> str:
    if suffix in (".bin", ".idx"):
        return "Megatron's datasets: name them with `megatron: PREFIX`, and the tokenizer that made them"
    return f"{suffix}: not a format of text that is read"


def _meant(folder: Path) -> str:
    """Suggest a folder with a similar name."""
    parent = folder.absolute().parent
    names = [path.name for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
    close = difflib.get_close_matches(folder.name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
