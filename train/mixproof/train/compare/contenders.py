"""Contenders: the runs of one proxy whose facts agree, by mixture and seed.

A mixture is defined by the data of a run: build, shares, phases, the cuts of a simulated target, and the facts that
the axis of a comparison allows to differ. Its label is the mixture's name in the spec; if several mixtures have the
same name, the label also gives what distinguishes them. Mixtures are compared on the seeds they share. If no seed is
common to all, the mixtures with the fewest seeds are excluded one by one, and listed, until one is.
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
    """One mixture on one proxy, with one run per seed."""

    label: str
    runs: Mapping[int, RunRecord]
    """By seed."""
    varying: Mapping[str, Value]
    """Facts that the axis allows to differ."""


@dataclass(frozen=True)
class Stratum:
    """Contenders that can be ranked against each other: one proxy, all facts agree."""

    proxy: str
    shared: Mapping[str, Value]
    of_proxy: Mapping[str, Value]
    contenders: tuple[Contender, ...]
    duplicates: tuple[RunRecord, ...]
    """Further runs of a mixture and seed that already has one."""

    @property
    def agreed(self) -> dict[str, Value]:
        """All facts that agree."""
        return {**self.shared, **self.of_proxy}


def strata_of(runs: Sequence[Run]) -> list[Stratum]:
    """Divide runs into strata by proxy and facts; more mixtures first, then more tokens, then in input order."""
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        found.setdefault((run[0].proxy, json.dumps(run[1].agreed, sort_keys=True)), []).append(run)
    strata = [_stratum(proxy, members) for (proxy, _), members in found.items()]
    return sorted(strata, key=lambda stratum: (-len(stratum.contenders), -_tokens(stratum)))


def share_seeds(contenders: Sequence[Contender]) -> tuple[tuple[Contender, ...], tuple[int, ...], list[str]]:
    """The contenders that share seeds, those seeds, and a reason for each excluded contender."""
    kept = sorted(contenders, key=lambda contender: (-len(contender.runs), contender.label))
    reasons: list[str] = []
    while kept:
        seeds = set.intersection(*(set(contender.runs) for contender in kept))
        if seeds:
            return tuple(sorted(kept, key=lambda contender: contender.label)), tuple(sorted(seeds)), reasons
        excluded = kept.pop()
        reasons.append(f"{excluded.label} has no seed in common with the others, only {_seeds(excluded)}")
    return (), (), reasons


def _stratum(proxy: str, members: Sequence[Run]) -> Stratum:
    mixtures: dict[str, list[Run]] = {}
    for run in members:
        mixtures.setdefault(_identity(run), []).append(run)
    labels = _labels([runs[0] for runs in mixtures.values()])
    contenders, duplicates = [], []
    for label, runs in zip(labels, mixtures.values(), strict=True):
        by_seed: dict[int, RunRecord] = {}
        for record, _ in runs:
            if by_seed.setdefault(record.seed, record) is not record:
                duplicates.append(record)
        contenders.append(Contender(label, by_seed, runs[0][1].varying))
    facts = members[0][1]
    ordered = tuple(sorted(contenders, key=lambda contender: contender.label))
    return Stratum(proxy, facts.shared, facts.of_proxy, ordered, tuple(duplicates))


def _identity(run: Run) -> str:
    record, facts = run
    seeded = set() if record.post_training is None else {"samples_of"}  # windows of a source depend on the seed
    phases = [phase.model_dump(exclude=seeded) for phase in record.phases]
    data = [record.build, record.mixture, _shares(record), _cuts(record), phases]
    return json.dumps([data, dict(facts.varying)], sort_keys=True)


def _labels(runs: Sequence[Run]) -> list[str]:
    """Labels of mixtures: the name, followed by what differs between mixtures of the same name."""
    traits = [
        {
            "spec": record.spec_name,
            "build": record.build[:8],
            "shares": _shares(record),
            "cut": _cuts(record),
            "phases": str(len(record.phases)),
            **{name: str(value) for name, value in facts.varying.items()},
        }
        for record, facts in runs
    ]
    labels = []
    for (record, _), mine in zip(runs, traits, strict=True):
        same = [other for (run, _), other in zip(runs, traits, strict=True) if run.mixture == record.mixture]
        distinct = [f"{name} {mine[name]}" for name in mine if len({other[name] for other in same}) > 1]
        labels.append(f"{record.mixture} ({', '.join(distinct)})" if distinct else record.mixture)
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


def _tokens(stratum: Stratum) -> int:
    return max(record.consumed_tokens for contender in stratum.contenders for record in contender.runs.values())
