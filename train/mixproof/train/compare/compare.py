"""Compare: rank only what can be compared, and say why the rest cannot.

Finished runs are divided into strata by proxy and facts. Strata of different proxies whose shared facts agree form a
group, in which the proxies' rankings are set side by side (Spearman's and Kendall's rank correlation). A proxy with
several strata, for example with two budgets, has each of them in a different group. A group may hold a single mixture;
then it ranks nothing. Runs that failed, and runs whose audit or whose build's audit failed, are listed with the reason
and excluded from all rankings.

Nothing is trained or evaluated here. The input is run records, and per-document scores for the bootstrap.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from mixproof.ledger.manifest import Manifest
from mixproof.mixtures.blocks.mixture import Objective
from mixproof.train.record import RunRecord

from .comparison import Agreement, Comparison, Failed, Group
from .contenders import Contender, Run, Stratum, share_seeds, strata_of
from .facts import Axis, check_axis, differences, facts_of
from .layer_backends import note_on_layers
from .parts import Goal, bounds_of, missing_tasks
from .phase_lengths import notes_on_lengths
from .ranked_score import default_sources, objective_in_words, ranked_score
from .ranking import Ranking, rank
from .task_scores import TaskScores, part_of


@dataclass(frozen=True)
class _Aim:
    """The objective, and the scores that it needs besides the records."""

    objective: Objective | None
    tasks: TaskScores
    anchor: str | None

    def goal(self, sources: Sequence[str]) -> Goal:
        """What a ranking is by; `sources` count if the objective names none."""
        weights, bounds = objective_weights(self.objective, sources), bounds_of(self.objective)
        return Goal(weights, self.tasks, bounds, self.anchor, ranked_score(self.objective))


def compare(
    records: Sequence[RunRecord],
    objective: Objective | None,
    across: str | None = None,
    *,
    audits: Mapping[str, bool] | None = None,
    faults: Mapping[str, str] | None = None,
    folders: Mapping[str, Path] | None = None,
    manifests: Mapping[str, Manifest] | None = None,
    tasks: TaskScores | None = None,
    anchor: str | None = None,
) -> Comparison:
    """Group runs by the facts that must agree, and rank the mixtures of each group.

    Args:
        records: of finished and failed runs, from any number of specs; a run given twice counts once.
        objective: a score and weights of held-out sets; None: the plain mean over the sources that the stage learns
            from.
        across: the one axis that may differ: `tokens`, `flops`, `tokenizer` or `recipe`.
        audits: whether the audit of a build (by id) or of a run (by key) was clean; runs with a failed audit of
            either are excluded.
        faults: the first failure of each of those audits, in words, by the same ids and keys.
        folders: of runs, by key; needed for the uncertainty due to the choice of held-out documents.
        manifests: of builds, by id; needed for the bytes that a mixture lost to sources outside it.
        tasks: scores of runs on the tasks of the objective; a run without one of them is excluded.
        anchor: mixture that a winner is compared with on every part of the objective.

    Raises:
        RequestError: when `across` is not an axis, the objective weights a source without a held-out set, or no part
            of it may enter.
        DamagedFileError: when a run's per-document scores do not match its record.
    """
    axis = check_axis(across)
    runs, failed = _divide(records, axis, audits or {}, faults or {})
    runs, unscored = _with_tasks(runs, objective, tasks or {})
    failed += unscored
    strata = strata_of(runs)
    failed += [
        Failed(run.mixture, run.proxy, run.seed, run.key, "another run of the same mixture and seed counts")
        for stratum in strata
        for run in stratum.duplicates
    ]
    groups, reasons, notes = [], _reasons(strata), []
    aim = _Aim(objective, tasks or {}, anchor)
    for members in _join(strata):
        group, excluded, of_group = _group(members, axis, aim, folders or {}, manifests or {})
        reasons += excluded
        notes += of_group
        groups.append(group)
    units = [ranking.unit for group in groups for ranking in group.rankings.values()]
    in_words, higher = objective_in_words(objective, units), ranked_score(objective).higher_is_better
    return Comparison(tuple(groups), tuple(reasons), tuple(failed), in_words, tuple(notes), higher)


def _divide(
    records: Sequence[RunRecord], axis: Axis | None, audits: Mapping[str, bool], faults: Mapping[str, str]
) -> tuple[list[Run], list[Failed]]:
    """The runs that count, with their facts, and those that do not."""
    runs: list[Run] = []
    failed = []
    for record in {record.key: record for record in records}.values():
        reason = _why_not(record, audits, faults)
        if reason is None:
            runs.append((record, facts_of(record, axis, audits)))
        else:
            failed.append(Failed(record.mixture, record.proxy, record.seed, record.key, reason))
    return runs, failed


def _with_tasks(runs: Sequence[Run], objective: Objective | None, tasks: TaskScores) -> tuple[list[Run], list[Failed]]:
    """The runs that have scores on all tasks of the objective, and the others."""
    weights = {} if objective is None else objective_weights(objective, ())
    missing = [missing_tasks(record, weights, tasks) for record, _ in runs]
    scored = [run for run, names in zip(runs, missing, strict=True) if not names]
    reason = "has no scores on {}; `mixproof train` scores finished runs"
    unscored = [
        Failed(record.mixture, record.proxy, record.seed, record.key, reason.format(", ".join(names)))
        for (record, _), names in zip(runs, missing, strict=True)
        if names
    ]
    return scored, unscored


def _why_not(record: RunRecord, audits: Mapping[str, bool], faults: Mapping[str, str]) -> str | None:
    if record.status != "done":
        return record.reason or "did not finish"
    build = f"the audit of its build {record.build[:12]} failed"
    for name, failure in ((record.build, build), (record.key, "the audit of the run failed")):
        if audits.get(name) is False:
            return f"{failure}: {faults[name]}" if name in faults else failure
    return None


def _join(strata: Sequence[Stratum]) -> list[list[Stratum]]:
    """Strata of one group: shared facts agree, one stratum per proxy, each proxy's largest stratum first."""
    groups: dict[tuple[str, int], list[Stratum]] = {}
    taken: dict[tuple[str, str], int] = {}
    for stratum in strata:
        shared = json.dumps(dict(stratum.shared), sort_keys=True)
        number = taken.get((shared, stratum.proxy), 0)
        taken[shared, stratum.proxy] = number + 1
        groups.setdefault((shared, number), []).append(stratum)
    return list(groups.values())


def _group(
    strata: Sequence[Stratum],
    axis: Axis | None,
    aim: _Aim,
    folders: Mapping[str, Path],
    manifests: Mapping[str, Manifest],
) -> tuple[Group, list[str], list[str]]:
    """A group, the reasons why mixtures of it are in no ranking, and notes."""
    rankings: dict[str, Ranking] = {}
    facts: dict[str, object] = dict(strata[0].shared)
    reasons: list[str] = []
    notes: list[str] = []
    for stratum in sorted(strata, key=lambda stratum: stratum.proxy):
        contenders, seeds, excluded = share_seeds(stratum.contenders)
        reasons += [f"{stratum.proxy}: {reason}" for reason in excluded]
        if note := note_on_layers(stratum.proxy, contenders, folders):
            notes.append(note)
        notes += notes_on_lengths(stratum.proxy, contenders)
        record = next(iter(contenders[0].runs.values()))
        manifest = manifests.get(record.build)
        goal, lost = aim.goal(default_sources(record, manifest)), _lost_bytes(contenders, manifests)
        ranking = rank(stratum.proxy, contenders, seeds, goal, folders, lost, manifest)
        rankings[stratum.proxy] = ranking
        if found := ranking.noise.in_words([row.mixture for row in ranking.rows]):
            notes.append(f"{stratum.proxy}: {found}")
        notes += [f"{stratum.proxy}: {part.rejected}" for part in ranking.parts if part.rejected is not None]
        for name, value in stratum.of_proxy.items():
            by_proxy = facts.setdefault(name, {})
            assert isinstance(by_proxy, dict)
            by_proxy[stratum.proxy] = value
    return Group(facts, rankings, _agreement(rankings), axis), reasons, notes


def objective_weights(objective: Objective | None, sources: Sequence[str]) -> dict[str, float]:
    """Weight of each part of the objective; they sum to 1. Equal weights of `sources` if it names none."""
    if objective is None or not (objective.weights or objective.tasks):
        return {name: 1 / len(sources) for name in sources}
    weights = {**objective.weights, **{part_of(name): task.weight for name, task in objective.tasks.items()}}
    total = sum(weights.values())
    return {name: float(weight / total) for name, weight in weights.items() if weight}


def _agreement(rankings: Mapping[str, Ranking]) -> tuple[Agreement, ...]:
    """Rank correlation of every two proxies over their common mixtures, if there are at least two."""
    from scipy import stats  # here, because it takes 0.5 s, which a plan need not spend

    pairs = []
    for first, second in combinations(rankings, 2):
        one, other = ({row.mixture: row.mean for row in rankings[name].rows} for name in (first, second))
        both = sorted(set(one) & set(other))
        if len(both) > 1:
            values = [one[name] for name in both], [other[name] for name in both]
            spearman = float(stats.spearmanr(*values).statistic)
            pairs.append(Agreement((first, second), len(both), spearman, float(stats.kendalltau(*values).statistic)))
    return tuple(pairs)


def _lost_bytes(contenders: Sequence[Contender], manifests: Mapping[str, Manifest]) -> dict[str, int]:
    """By mixture: bytes that its sources lost in deduplication to sources outside the mixture."""
    lost = {}
    for contender in contenders:
        record = next(iter(contender.runs.values()))
        manifest = manifests.get(record.build)
        if manifest is not None:
            sources = {name for name, part in record.delivered.items() if part.declared > 0}
            lost[contender.label] = sum(row.bytes for row in manifest.lost_outside(sources))
    return lost


def _reasons(strata: Sequence[Stratum]) -> list[str]:
    """Why mixtures of one proxy are in different strata: the facts that differ, with both values."""
    reasons = []
    for proxy in sorted({stratum.proxy for stratum in strata}):
        first, *others = [stratum for stratum in strata if stratum.proxy == proxy]
        if not others and len(first.contenders) == 1:
            reasons.append(f"{proxy}: only one mixture was run, {first.contenders[0].label}")
        for other in others:
            found = "; ".join(differences(first.agreed, other.agreed))
            reasons.append(f"{proxy}: {_names(first)} and {_names(other)} differ in {found}")
    return reasons or ([] if strata else ["no run has finished"])


def _names(stratum: Stratum) -> str:
    return ", ".join(contender.label for contender in stratum.contenders)
