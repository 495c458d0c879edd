"""File and line of each key of a spec, so that an error can name file, line and dotted key.

A path is a tuple of keys and list indices, such as `("sources", "code", "steps", 0)`. Models hold the normalized
form, which may have levels that a YAML shorthand does not have; a look-up skips those levels.
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
    """A line in a file."""

    file: Path
    line: int
    """From 1."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Problem:
    """One error in a spec: where it is, what is wrong, and what would be right."""

    path: KeyPath
    message: str


@dataclass(frozen=True)
class KeyPositions:
    """File and line of every key of a spec file and of the files that it extends.

    Positions do not affect equality: two specs with equal values are equal, even in different files.
    """

    by_path: Mapping[KeyPath, KeyPosition] = field(default_factory=dict, compare=False)
    folder: Path = field(default=Path(), compare=False)
    """Of the spec file."""

    def locate(self, path: KeyPath) -> tuple[KeyPosition | None, str]:
        """Return the position and dotted key of `path`, without the steps that the file does not have."""
        if not self.by_path:
            return None, dotted(path)
        written: KeyPath = ()
        for step in path:
            if (*written, step) in self.by_path:
                written = (*written, step)
        return self.by_path[written], dotted(written)

    def where(self, *path: str | int) -> str:
        """`path` for error messages: `spec.yaml:12: sources.code.files`; only the key when the file is unknown."""
        position, key = self.locate(path)
        return ": ".join(str(part) for part in (position, key) if part)

    def error(self, problems: Iterable[Problem]) -> SpecError:
        """Combine all problems into one error, one line each, in the order of the file."""
        lines = {f"{self.where(*problem.path)}: {problem.message}": self._order(problem) for problem in problems}
        return SpecError("\n".join(sorted(lines, key=lambda line: lines[line])))

    def _order(self, problem: Problem) -> tuple[str, int]:
        position, _ = self.locate(problem.path)
        return (str(position.file), position.line) if position is not None else ("", 0)


def dotted(path: Iterable[str | int]) -> str:
    """A path with dots, and list indices in brackets: `sources.code.steps[0]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the known name that was probably meant, or list the known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known names: {', '.join(known)}" if known else "no names are known"
