"""Where each key of a spec stands, so that an error can name file, line and dotted key.

A path is a tuple of keys and list positions, `("sources", "code", "steps", 0)`. Models hold the normalized
form, in which a shorthand has grown levels that the YAML has not; those levels are skipped in a look-up.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .errors import SpecError

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class KeyPosition:
    """A line of a file."""

    file: Path
    line: int
    """From 1."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a spec: where, what, and what would be right."""

    path: KeyPath
    message: str


@dataclass(frozen=True)
class KeyPositions:
    """The line of every key of a spec file and of the files that it extends.

    Where a spec stands is no part of what it says: all positions compare equal, and so do equal specs.
    """

    by_path: Mapping[KeyPath, KeyPosition] = field(default_factory=dict, compare=False)

    def locate(self, path: KeyPath) -> tuple[KeyPosition | None, str]:
        """Return the position and the dotted key of `path`, or of its longest part that is written."""
        if not self.by_path:
            return None, dotted(path)
        written: KeyPath = ()
        for step in path:
            if (*written, step) in self.by_path:
                written = (*written, step)
        return self.by_path[written], dotted(written)

    def where(self, *path: str | int) -> str:
        """Spell `path` for people: `spec.yaml:12: sources.code.files`; only the key where no file is known."""
        position, key = self.locate(path)
        return ": ".join(str(part) for part in (position, key) if part)

    def error(self, problems: Iterable[Problem]) -> SpecError:
        """Make one error of all problems, a line each, in the order of the file."""
        lines = {f"{self.where(*problem.path)}: {problem.message}": self._order(problem) for problem in problems}
        return SpecError("\n".join(sorted(lines, key=lambda line: lines[line])))

    def _order(self, problem: Problem) -> tuple[str, int]:
        position, _ = self.locate(problem.path)
        return (str(position.file), position.line) if position is not None else ("", 0)


def dotted(path: Iterable[str | int]) -> str:
    """Spell a path with dots, list positions in brackets: `sources.code.steps[0]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, or what names there are."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known are {', '.join(known)}" if known else "none are known"
