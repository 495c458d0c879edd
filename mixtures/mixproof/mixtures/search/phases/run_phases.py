"""The phases of runs whose mixtures come from a table, and the columns that hold their shares.

`--phases stable=80%,decay=100%` names the phases in the order of the run and says where each ends. The share of a
source in a phase is in the column `stable:web`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.key_positions import nearest
from mixproof.mixtures.values.quantities import parse_share, percent_string

SEPARATOR = ":"
EXAMPLE = "--phases stable=80%,decay=100%"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class RunPhases:
    """Phases of equal order and length in all runs."""

    names: tuple[str, ...]
    ends: tuple[Fraction, ...]
    """Where each ends, as a share of the run's tokens; the last one is 1."""

    @property
    def lengths(self) -> tuple[Fraction, ...]:
        """Share of the run's tokens in each phase."""
        starts = (Fraction(0), *self.ends[:-1])
        return tuple(end - start for start, end in zip(starts, self.ends, strict=True))

    def sources_of(self, columns: Sequence[str]) -> tuple[str, ...]:
        """The sources of columns `PHASE:SOURCE`, in the order of the first phase.

        Raises:
            SpecError: when a column has no phase or an unknown one, or a source is missing in a phase; without the
                file's name.
        """
        found: dict[str, list[str]] = {name: [] for name in self.names}
        for column in columns:
            phase, separator, source = column.partition(SEPARATOR)
            if not separator or not source:
                raise SpecError(f"column {column!r} names no phase; with --phases it must be {self.names[0]}:{column}")
            if phase not in found:
                raise SpecError(f"column {column!r}: --phases has no phase {phase!r}; {nearest(phase, found)}")
            found[phase].append(source)
        sources = tuple(dict.fromkeys(source for own in found.values() for source in own))
        for phase, own in found.items():
            missing = [source for source in sources if source not in own]
            if missing:
                raise SpecError(
                    f"there is no column '{phase}:{missing[0]}'; add it, with 0 for a source that is not used"
                )
        return sources

    def columns(self, sources: Sequence[str]) -> tuple[str, ...]:
        """The columns of all phases, one phase after the other."""
        return tuple(column for phase in self.names for column in columns_of(phase, sources))


def columns_of(phase: str, sources: Sequence[str]) -> tuple[str, ...]:
    """The columns of one phase."""
    return tuple(f"{phase}{SEPARATOR}{source}" for source in sources)


def read_phases(text: str) -> RunPhases:
    """Read `stable=80%,decay=100%`.

    Raises:
        SpecError: when a name or an end is missing or wrong.
    """
    names, ends = [], []
    for part in text.split(","):
        name, _, end = (piece.strip() for piece in part.partition("="))
        if not _NAME.fullmatch(name):
            raise SpecError(f"--phases {text}: {name!r} is not a valid phase name; write NAME=END, such as {EXAMPLE}")
        if name in names:
            raise SpecError(f"--phases {text}: {name} occurs twice; give each phase a name of its own")
        try:
            ends.append(parse_share(end))
        except ValueError:
            raise SpecError(f"--phases {text}: {name} ends at {end!r}, which is not a share; see {EXAMPLE}") from None
        names.append(name)
        if ends[-1] <= (ends[-2] if len(ends) > 1 else 0):
            raise SpecError(f"--phases {text}: {name} ends at {end}, which is not after the phase before it")
    if len(names) < 2:
        raise SpecError(f"--phases {text}: give two phases or more, such as {EXAMPLE}")
    if ends[-1] != 1:
        raise SpecError(
            f"--phases {text}: the last phase ends at {percent_string(ends[-1])}; it must end at 100% of the tokens"
        )
    return RunPhases(tuple(names), tuple(ends))


def phases_in(columns: Sequence[str]) -> tuple[str, ...]:
    """Names that look like phases: the same sources follow each of them in the columns; empty if there are none."""
    found: dict[str, set[str]] = {}
    for column in columns:
        phase, separator, source = column.partition(SEPARATOR)
        if not separator:
            return ()
        found.setdefault(phase, set()).add(source)
    return tuple(found) if len(found) > 1 and len({frozenset(own) for own in found.values()}) == 1 else ()
