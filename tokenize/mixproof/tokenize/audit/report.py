"""What an audit found: every check counted, every failure named with its place.

`Checks` is handed through the audit and bound to a place (`at`), so that a check says only what it expects;
threads fill one each and `merge` puts them together in the order of the manifest, whoever ends first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Literal

Depth = Literal["arithmetic", "bytes", "replay"]
Equation = Literal["E1", "E2", "E3", "E4", "E5", "E6", "E7", "E8", "E9", "E10", "checksum", "schema"]


@dataclass(frozen=True)
class Place:
    """Where a check looks; an empty string where a part does not apply."""

    file: str = ""
    """Absolute path."""
    source: str = ""
    stage: str = ""
    shard: str = ""
    """The part of a dataset, by its prefix in the store."""


@dataclass(frozen=True)
class Failure:
    """One check that did not hold."""

    equation: str
    """E1 to E10, `checksum`, or `schema`: a form that is not the one agreed on."""
    file: str
    source: str
    stage: str
    shard: str
    expected: str
    found: str

    def __str__(self) -> str:
        places = (("source", self.source), ("stage", self.stage), ("part", self.shard), ("file", self.file))
        place = ", ".join(f"{name} {value}" for name, value in places if value)
        return f"{self.equation}: expected {self.expected}, found {self.found} ({place})"


@dataclass(frozen=True)
class AuditReport:
    """The outcome of an audit."""

    ok: bool
    depth: Depth
    checks: int
    """Comparisons made, failed ones included; a comparison over a whole column or file counts once."""
    failures: tuple[Failure, ...]

    def __add__(self, other: AuditReport) -> AuditReport:
        """Both audits as one; they must be of the same depth."""
        assert self.depth == other.depth
        failures = (*self.failures, *other.failures)
        return AuditReport(self.ok and other.ok, self.depth, self.checks + other.checks, failures)

    def moved(self, root: str, place: str) -> AuditReport:
        """The same report with files below `place` where it names files below `root`."""
        moved = [
            replace(failure, file=failure.file.replace(root, place, 1)) if failure.file.startswith(root) else failure
            for failure in self.failures
        ]
        return replace(self, failures=tuple(moved))

    def to_json(self) -> dict[str, object]:
        """The form that `mixproof audit --json` prints."""
        return {
            "ok": self.ok,
            "depth": self.depth,
            "checks": self.checks,
            "failures": [asdict(failure) for failure in self.failures],
        }


class Checks:
    """Counts checks and keeps what failed, at one place."""

    def __init__(self, place: Place | None = None) -> None:
        self.place = place or Place()
        self.count = 0
        self.failures: list[Failure] = []

    def true(self, equation: Equation, holds: bool, expected: str, found: str) -> bool:
        """Count one check; where it does not hold, keep what was expected and found."""
        self.count += 1
        if not holds:
            self.failures.append(Failure(equation, **asdict(self.place), expected=expected, found=found))
        return holds

    def equal(self, equation: Equation, what: str, expected: object, found: object) -> bool:
        """Count one comparison of `what`, a quantity's name such as `tokens`."""
        return self.true(equation, expected == found, f"{expected} {what}", f"{found} {what}")

    def merge(self, others: Iterable[Checks]) -> None:
        """Take over the counts and failures of `others`, in their order."""
        for other in others:
            self.count += other.count
            self.failures.extend(other.failures)

    def at(self, *, file: str = "", source: str = "", stage: str = "", shard: str = "") -> Checks:
        """The same count and list, bound to a place that names more."""
        given = {"file": file, "source": source, "stage": stage, "shard": shard}
        return _Bound(self, replace(self.place, **{name: value for name, value in given.items() if value}))

    def report(self, depth: Depth) -> AuditReport:
        """Close the audit."""
        return AuditReport(not self.failures, depth, self.count, tuple(self.failures))


class _Bound(Checks):
    """Writes into the `Checks` that it was bound from."""

    def __init__(self, owner: Checks, place: Place) -> None:
        super().__init__(place)
        self._owner = owner

    def true(self, equation: Equation, holds: bool, expected: str, found: str) -> bool:
        """Check at this place, count at the owner."""
        mine = Checks(self.place)
        mine.true(equation, holds, expected, found)
        self._owner.merge([mine])
        return holds

    def merge(self, others: Iterable[Checks]) -> None:
        """Hand on to the owner."""
        self._owner.merge(others)
