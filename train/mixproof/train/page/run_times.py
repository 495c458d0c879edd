"""When the runs of a comparison were trained, for how long, and on what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mixproof.tokenize.page.environment import UNKNOWN, Work, build_work, duration, moment, work_table
from mixproof.tokenize.page.table import Table, amount

from .evidence import Evidence, RunEvidence


def times_table(evidence: Evidence) -> Table:
    """One row per build, then one per proxy and device."""
    return work_table([*(build_work(build) for build in evidence.builds), *_works(evidence.runs)])


def finished_on(evidence: Evidence) -> str:
    """The day on which the last run, or else the last build, ended."""
    runs = [ended for run in evidence.runs if (ended := moment(run.circumstances, "ended"))]
    builds = [ended for build in evidence.builds if (ended := moment(build.circumstances, "ended"))]
    found = runs or builds
    return f"{max(found):%Y-%m-%d}" if found else UNKNOWN


def rank_seconds(runs: Iterable[RunEvidence]) -> float:
    """Wall time of the runs' last attempts times their ranks, summed; runs that do not state it count as 0."""
    milliseconds = (run.circumstances.get("wall_milliseconds", 0) * run.circumstances.get("ranks", 1) for run in runs)
    return float(sum(milliseconds)) / 1000


def _works(runs: Iterable[RunEvidence]) -> Iterator[Work]:
    groups: dict[tuple[str, str], list[RunEvidence]] = {}
    for run in runs:
        groups.setdefault((run.record.proxy, str(run.circumstances.get("device", UNKNOWN))), []).append(run)
    for (proxy, device), members in groups.items():
        started = [found for run in members if (found := moment(run.circumstances, "started"))]
        ended = [found for run in members if (found := moment(run.circumstances, "ended"))]
        first, last = min(started, default=None), max(ended, default=None)
        name = f"{len(members)} run{'s' if len(members) > 1 else ''} of {proxy}"
        seconds = (last - first).total_seconds() if first and last else None
        flops = amount(sum(run.record.flops for run in members))
        spent = rank_seconds(members)
        used = f"{duration(spent)} of {device}, {flops} FLOPs" if spent else f"{flops} FLOPs on {device}"
        yield Work(name, None, first, last, seconds, used)
