"""Contenders: the runs of one proxy whose facts agree, by mixture and seed.

A mixture is what a run was fed: the build, the shares and the phases, the cuts of a simulated target, and what the
axis of a comparison lets differ. Its label is the mixture's name in the spec, with whatever tells it apart from
others of that name. Mixtures are compared on the seeds they share; where no seed is common to all, those with the
fewest seeds step aside, by name, until one is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mixproof.train.record import RunRecord

from .facts import Facts, Value

Run = tuple[RunRecord, Facts]


@dataclass(frozen=True)
class Contender:
    """One mixture on one proxy, with a run a seed."""

    label: str
    runs: Mapping[int, RunRecord]
    """By seed."""
    free: Mapping[str, Value]
    """Facts that the axis lets differ."""


@dataclass(frozen=True)
class Cell:
    """Contenders that may be ranked: one proxy, all facts agree."""

    proxy: str
    shared: Mapping[str, Value]
    own: Mapping[str, Value]
    contenders: tuple[Contender, ...]
    spare: tuple[RunRecord, ...]
    """Further runs of a mixture and seed that already has one."""

    @property
    def agreed(self) -> dict[str, Value]:
        """All facts that agree."""
        return {**self.shared, **self.own}


def cells_of(runs: Sequence[Run]) -> list[Cell]:
    """Divide runs into cells, by proxy and facts; larger cells first, then more tokens, then as given."""
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        found.setdefault((run[0].proxy, json.dumps(run[1].agreed, sort_keys=True)), []).append(run)
    cells = [_cell(proxy, members) for (proxy, _), members in found.items()]
    return sorted(cells, key=lambda cell: (-len(cell.contenders), -_tokens(cell)))


def share_seeds(contenders: Sequence[Contender]) -> tuple[tuple[Contender, ...], tuple[int, ...], list[str]]:
    """The contenders that share seeds, those seeds, and a reason for each contender that stepped aside."""
    left = sorted(contenders, key=lambda contender: (-len(contender.runs), contender.label))
    aside: list[str] = []
    while left:
        seeds = set.intersection(*(set(contender.runs) for contender in left))
        if seeds:
            return tuple(sorted(left, key=lambda contender: contender.label)), tuple(sorted(seeds)), aside
        gone = left.pop()
        aside.append(f"{gone.label} has no seed that the others have, only {_seeds(gone)}")
    return (), (), aside


def _cell(proxy: str, members: Sequence[Run]) -> Cell:
    mixtures: dict[str, list[Run]] = {}
    for run in members:
        mixtures.setdefault(_identity(run), []).append(run)
    labels = _labels([runs[0] for runs in mixtures.values()])
    contenders, spare = [], []
    for label, runs in zip(labels, mixtures.values(), strict=True):
        by_seed: dict[int, RunRecord] = {}
        for record, _ in runs:
            if by_seed.setdefault(record.seed, record) is not record:
                spare.append(record)
        contenders.append(Contender(label, by_seed, runs[0][1].free))
    facts = members[0][1]
    ordered = tuple(sorted(contenders, key=lambda contender: contender.label))
    return Cell(proxy, facts.shared, facts.own, ordered, tuple(spare))


def _identity(run: Run) -> str:
    record, facts = run
    phases = [phase.model_dump() for phase in record.phases]
    fed = [record.build, record.mixture, _shares(record), _cuts(record), phases]
    return json.dumps([fed, dict(facts.free)], sort_keys=True)


def _labels(runs: Sequence[Run]) -> list[str]:
    """Names of mixtures; where several have one name, with what differs between them."""
    traits = [
        {
            "spec": record.spec_name,
            "build": record.build[:8],
            "shares": _shares(record),
            "cut": _cuts(record),
            "phases": str(len(record.phases)),
            **{name: str(value) for name, value in facts.free.items()},
        }
        for record, facts in runs
    ]
    labels = []
    for (record, _), mine in zip(runs, traits, strict=True):
        same = [other for (run, _), other in zip(runs, traits, strict=True) if run.mixture == record.mixture]
        telling = [f"{name} {mine[name]}" for name in mine if len({other[name] for other in same}) > 1]
        labels.append(f"{record.mixture} ({', '.join(telling)})" if telling else record.mixture)
    return [
        label if labels.count(label) == 1 else f"{label} [{record.key[:8]}]"
        for label, (record, _) in zip(labels, runs, strict=True)
    ]


def _shares(record: RunRecord) -> str:
    return ", ".join(f"{name} {100 * part.declared:g}%" for name, part in sorted(record.delivered.items()))


def _cuts(record: RunRecord) -> str:
    cuts = {name: draw.cut_tokens for name, draw in sorted(record.draws.items()) if draw.cut_tokens is not None}
    return ", ".join(f"{name} to {tokens:,} tokens" for name, tokens in cuts.items()) or "none"


def _seeds(contender: Contender) -> str:
    return ", ".join(str(seed) for seed in sorted(contender.runs))


def _tokens(cell: Cell) -> int:
    return max(record.consumed_tokens for contender in cell.contenders for record in contender.runs.values())
