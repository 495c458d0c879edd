"""Where and when something was made: versions and machines, start, end and duration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .build_evidence import SHORT, BuildEvidence
from .table import Cell, Column, Table

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Work:
    """A build, or several runs of one kind, in time."""

    name: str
    proof: str | None
    started: datetime | None
    ended: datetime | None
    wall_seconds: float | None
    cost: str
    """What the work used, in words."""


def moment(circumstances: Mapping[str, Any], name: str) -> datetime | None:
    """A time in circumstances; None if it is not stated, or not as a time."""
    try:
        return datetime.fromisoformat(str(circumstances.get(name)))
    except ValueError:
        return None


def build_work(build: BuildEvidence) -> Work:
    """When a build was made, and on how many processors."""
    started, ended = (moment(build.circumstances, name) for name in ("started", "ended"))
    seconds = (ended - started).total_seconds() if started and ended else None
    processors = _machine(build.circumstances).get("processors")
    cost = f"{processors} processors" if processors else UNKNOWN
    return Work(f"build {build.id[:SHORT]}", build.anchor, started, ended, seconds, cost)


def work_table(works: Iterable[Work]) -> Table:
    """One row per work."""
    rows = tuple(
        (
            Cell(work.name, proof=work.proof),
            Cell(_time(work.started), _time(work.started)),
            Cell(_time(work.ended), _time(work.ended)),
            Cell(UNKNOWN if work.wall_seconds is None else duration(work.wall_seconds), work.wall_seconds or 0),
            Cell(work.cost),
        )
        for work in works
    )
    heads = (
        Column("work", number=False, head=True),
        Column("started (UTC)", number=False),
        Column("ended (UTC)", number=False),
        Column("wall time"),
        Column("cost", number=False),
    )
    return Table("work-table", "Date, wall time and cost", heads, rows)


def stages_table(build: BuildEvidence) -> Table:
    """Wall time of each stage of a build."""
    rows = tuple(
        (Cell(stage), Cell(duration(float(seconds)), float(seconds)))
        for stage, seconds in sorted(build.circumstances.get("seconds", {}).items(), key=lambda item: -item[1])
    )
    return Table("stages-table", "Wall time by stage", (Column("stage", number=False, head=True), Column("time")), rows)


def versions_table(stated: Iterable[tuple[str, str]]) -> Table:
    """Names and values; several values of one name are listed together."""
    found: dict[str, set[str]] = {}
    for name, value in stated:
        found.setdefault(name, set()).add(value)
    rows = tuple((Cell(name), Cell(", ".join(sorted(values)))) for name, values in sorted(found.items()))
    heads = (Column("name", number=False, head=True), Column("value", number=False))
    return Table("versions-table", "Versions, machines and engines", heads, rows)


def stated_versions(circumstances: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values in the circumstances of a build or run."""
    stated = [(name, str(version)) for name, version in circumstances.get("versions", {}).items()]
    machine = _machine(circumstances)
    stated += [(name, str(machine[key])) for key, name in _MACHINE.items() if key in machine]
    stated += [("tokenizer engine", str(engine)) for engine in circumstances.get("engines", {})]
    return stated


_MACHINE = {"system": "machine", "processors": "processors", "node": "host"}


def _machine(circumstances: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is stated of the machine; runs name only its system."""
    machine = circumstances.get("machine") or {}
    return machine if isinstance(machine, Mapping) else {"system": machine}


def duration(seconds: float) -> str:
    """A duration in the two largest units: 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    if round(seconds) < 3_600:
        minutes, left = divmod(round(seconds), 60)
        return f"{minutes} min {left} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes} min"


def _time(time: datetime | None) -> str:
    return UNKNOWN if time is None else f"{time:%Y-%m-%d %H:%M}"
