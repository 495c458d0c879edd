"""One line about a stage: `stage 5 of 11, fuzzy deduplication: 3.1 of 12.4 GB, 48 MB/s, about 4 min left`.

Pure functions of numbers. The time left follows from the speed since the stage began, so it is not shown in the first
seconds, and it is a guess as long as few tasks have finished.
"""

from __future__ import annotations

from dataclasses import dataclass

from mixproof.pipeline.cluster.task_progress import START, TaskProgress

from .stages import TRAIN, UNITS, stage_of

SIZES = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3), ("bytes", 1))
LEAST_SECONDS = 2.0
"""A speed measured over less time is not shown."""
MINUTE, HOUR = 60.0, 3600.0


@dataclass(frozen=True)
class StageState:
    """A stage that is running or has finished."""

    stage: str
    number: int | None
    """From 1; None if the stage is not one of the command's."""
    of: int
    """Number of stages of the command."""
    part: TaskProgress
    """The tasks that run now, one of the stage's parts; at its end the part with the most bytes."""
    seconds: float
    """Since the part began; at the end, since the stage began."""

    @property
    def name(self) -> str:
        """The stage, with its number where it has one."""
        if self.part.label == START:
            return "starting Ray"
        return self.stage if self.number is None else f"stage {self.number} of {self.of}, {self.stage}"


def running_line(state: StageState) -> str:
    """Describe a running stage."""
    part, seconds = state.part, state.seconds
    if part.label == START:
        return f"{state.name}: {duration(seconds)}"
    parts = [_amounts(part)]
    if part.bytes_done and seconds >= LEAST_SECONDS:
        parts.append(f"{size(part.bytes_done / seconds)}/s")
    left = None if state.stage == TRAIN else seconds_left(part, seconds)  # the table of runs has a better estimate
    if left is not None:
        parts.append(f"about {duration(left)} left")
    return f"{state.name}: {', '.join(parts)}"


def finished_line(state: StageState) -> str:
    """Describe a finished stage."""
    part, seconds = state.part, state.seconds
    if not part.bytes_total:
        return f"{state.name}: finished in {duration(seconds)}"
    speed = f" ({size(part.bytes_total / seconds)}/s)" if seconds >= LEAST_SECONDS else ""
    return f"{state.name}: {size(part.bytes_total)} in {duration(seconds)}{speed}"


def seconds_left(part: TaskProgress, seconds: float) -> float | None:
    """Estimate the rest of the time; None while nothing has finished, or when everything has."""
    done, total = (part.bytes_done, part.bytes_total) if part.bytes_total else (part.done, part.total)
    if not done or done >= total or seconds < LEAST_SECONDS:
        return None
    return seconds * (total - done) / done


def _amounts(part: TaskProgress) -> str:
    if part.bytes_total:
        unit, bytes_of_unit = _unit(part.bytes_total)
        return f"{_short(part.bytes_done / bytes_of_unit)} of {_short(part.bytes_total / bytes_of_unit)} {unit}"
    return f"{part.done} of {part.total} {UNITS.get(stage_of(part.label), 'tasks')}"


def size(value: float) -> str:
    """Bytes with a decimal unit: `48 MB`, `3.1 GB`."""
    unit, bytes_of_unit = _unit(value)
    return f"{_short(value / bytes_of_unit)} {unit}"


def duration(seconds: float) -> str:
    """A time with the precision of an estimate: `20 s`, `4 min`, `2.5 h`, `3 days`."""
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.1f} h" if seconds < 48 * HOUR else f"{seconds / HOUR / 24:.0f} days"


def _unit(value: float) -> tuple[str, int]:
    return next((unit for unit in SIZES if value >= unit[1]), SIZES[-1])


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"
