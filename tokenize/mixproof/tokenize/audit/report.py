"""The findings of an audit: a count of all checks and a list of the failures, each with its location.

`Checks` is passed through the audit and bound to a location with `at`, so a check states only what it expects.
Each thread fills its own `Checks`; `merge` joins them in the order of the manifest, so the report is deterministic.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Literal

Depth = Literal["arithmetic", "bytes", "replay"]
Equation = Literal["E1", "E2", "E3", "E4", "E5", "E6", "E7", "E8", "E9", "E10", "checksum", "schema"]


@dataclass(frozen=True)
class Location:
    """What a check looks at; an empty string where a field does not apply."""

    file: str = ""
    """Absolute path."""
    source: str = ""
    stage: str = ""
    shard: str = ""
    """The part of a dataset, by its prefix in the store."""


@dataclass(frozen=True)
class Failure:
    """One failed check."""

    equation: str
    """E1 to E10, `checksum`, or `schema` (the file does not have the agreed form)."""
    file: str
    source: str
    stage: str
    shard: str
    expected: str
    found: str

    def __str__(self) -> str:
        fields = (("source", self.source), ("stage", self.stage), ("part", self.shard), ("file", self.file))
        location = ", ".join(f"{name} {value}" for name, value in fields if value)
        return f"{self.equation}: expected {self.expected}, found {self.found} ({location})"


@dataclass(frozen=True)
class Reencoded:
    """What was encoded again with the reference tokenizer and compared with the ids of the build, in documents."""

    heldout: int = 0
    train: int = 0
    """Sampled training documents whose text was restored from their ids."""
    not_restored: int = 0
    """Sampled training documents whose ids decode to another text than the one that was encoded; not compared."""
    with_control_tokens: int = 0
    """Sampled training conversations in which the template wrote control tokens; a text alone does not say where those
    are, so their ids are compared at depth replay only."""
    without_texts: tuple[str, ...] = ()
    """Sources that were adopted from `.bin/.idx`."""

    def __add__(self, other: Reencoded) -> Reencoded:
        """Add the counts."""
        return Reencoded(
            self.heldout + other.heldout,
            self.train + other.train,
            self.not_restored + other.not_restored,
            self.with_control_tokens + other.with_control_tokens,
            (*self.without_texts, *other.without_texts),
        )

    def __str__(self) -> str:
        text = (
            f"re-encoded {self.heldout:,} held-out and {self.train:,} sampled training documents "
            "with the reference tokenizer"
        )
        if self.not_restored:
            restored = (
                "text could not be restored from its"
                if self.not_restored == 1
                else "texts could not be restored from their"
            )
            text += f"; {self.not_restored:,} sampled {restored} ids"
        if self.with_control_tokens:
            conversations = "conversation" if self.with_control_tokens == 1 else "conversations"
            text += f"; {self.with_control_tokens:,} sampled {conversations} with control tokens not re-encoded here"
            text += " (`--depth replay` renders and encodes every record)"
        if self.without_texts:
            text += f"; no texts to re-encode in sources adopted from .bin/.idx: {', '.join(self.without_texts)}"
        return text


@dataclass(frozen=True)
class AuditReport:
    """The outcome of an audit."""

    ok: bool
    depth: Depth
    checks: int
    """Number of comparisons, including failed ones; a comparison of a whole column or file counts once."""
    failures: tuple[Failure, ...]
    reencoded: Reencoded | None = None
    """None if nothing is encoded again: at depth `arithmetic`, and in the audit of a run."""

    def __add__(self, other: AuditReport) -> AuditReport:
        """Join two reports of the same depth."""
        assert self.depth == other.depth
        failures = (*self.failures, *other.failures)
        done = [report.reencoded for report in (self, other) if report.reencoded is not None]
        reencoded = sum(done, Reencoded()) if done else None
        return AuditReport(self.ok and other.ok, self.depth, self.checks + other.checks, failures, reencoded)

    def rebased(self, root: str, new_root: str) -> AuditReport:
        """The same report, with `new_root` in place of `root` in every file name."""
        rebased = [
            replace(failure, file=failure.file.replace(root, new_root, 1)) if failure.file.startswith(root) else failure
            for failure in self.failures
        ]
        return replace(self, failures=tuple(rebased))

    def to_json(self) -> dict[str, object]:
        """The form that `mixproof audit --json` prints."""
        return {
            "ok": self.ok,
            "depth": self.depth,
            "checks": self.checks,
            "failures": [asdict(failure) for failure in self.failures],
            "reencoded": None if self.reencoded is None else asdict(self.reencoded),
        }


class Checks:
    """Counts checks at one location and collects the failures."""

    def __init__(self, location: Location | None = None) -> None:
        self.location = location or Location()
        self.count = 0
        self.failures: list[Failure] = []

    def true(self, equation: Equation, holds: bool, expected: str, found: str) -> bool:
        """Count one check; if it fails, record what was expected and what was found. Returns `holds`."""
        self.count += 1
        if not holds:
            self.failures.append(Failure(equation, **asdict(self.location), expected=expected, found=found))
        return holds

    def equal(self, equation: Equation, what: str, expected: object, found: object) -> bool:
        """Count one comparison; `what` names the quantity, for example `tokens`."""
        return self.true(equation, expected == found, f"{expected} {what}", f"{found} {what}")

    def merge(self, others: Iterable[Checks]) -> None:
        """Add the counts and failures of `others`, in order."""
        for other in others:
            self.count += other.count
            self.failures.extend(other.failures)

    def at(self, *, file: str = "", source: str = "", stage: str = "", shard: str = "") -> Checks:
        """The same counter, bound to a more specific location."""
        given = {"file": file, "source": source, "stage": stage, "shard": shard}
        return _Bound(self, replace(self.location, **{name: value for name, value in given.items() if value}))

    def report(self, depth: Depth) -> AuditReport:
        """The report of everything counted so far."""
        return AuditReport(not self.failures, depth, self.count, tuple(self.failures))


class _Bound(Checks):
    """Checks that report to their owner."""

    def __init__(self, owner: Checks, location: Location) -> None:
        super().__init__(location)
        self._owner = owner

    def true(self, equation: Equation, holds: bool, expected: str, found: str) -> bool:
        """Check at this location, count in the owner."""
        mine = Checks(self.location)
        mine.true(equation, holds, expected, found)
        self._owner.merge([mine])
        return holds

    def merge(self, others: Iterable[Checks]) -> None:
        """Pass on to the owner."""
        self._owner.merge(others)
