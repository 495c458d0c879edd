"""Compare: rank only what can be compared, and say why the rest cannot.

Finished runs are divided by proxy and facts into cells; cells of different proxies whose shared facts agree form
a group, in which the proxies' rankings are set beside each other (Spearman's and Kendall's rank correlation). A
proxy with several cells, two budgets for example, gives each to a group of its own; a group may hold a single
mixture, and then ranks nothing. Runs that failed, and
runs whose audit or whose build's audit failed, are listed with their reason and enter nothing.

Nothing is trained, evaluated or read but records and, for the bootstrap, per-document scores.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

from scipy import stats

from mixproof.ledger.manifest import Manifest
from mixproof.mixtures.spec import Objective
from mixproof.train.record import RunRecord

from .contenders import Cell, Contender, cells_of, share_seeds
from .facts import Axis, check_axis, differences, facts_of
from .layer_backends import note_on_layers
from .ranking import Ranking, rank, row_json

PLAIN = "plain mean of held-out bits per byte over sources, because the spec names no objective"


@dataclass(frozen=True)
class Agreement:
    """How much two proxies agree on the order of the mixtures that both have; 1 the same, -1 the reverse."""

    proxies: tuple[str, str]
    mixtures: int
    spearman: float
    kendall: float


@dataclass(frozen=True)
class Group:
    """Runs that agree in their facts, with one ranking a proxy."""

    facts: Mapping[str, object]
    """By name; a fact of the proxy is a mapping from its name."""
    rankings: Mapping[str, Ranking]
    agreement: tuple[Agreement, ...]
    across: Axis | None

    def to_json(self) -> dict[str, object]:
        """The form of a group in `compare --json`."""
        rankings = self.rankings.values()
        return {
            "facts": dict(self.facts),
            "across": self.across,
            "ranking": {ranking.proxy: [row.mixture for row in ranking.rows] for ranking in rankings},
            "winner": {ranking.proxy: ranking.winner for ranking in rankings},
            "verdict": {ranking.proxy: ranking.verdict for ranking in rankings},
            "uncertainty": {ranking.proxy: _uncertainty_json(ranking) for ranking in rankings},
            "agreement": [asdict(pair) for pair in self.agreement],
            "table": [row_json(row, ranking.proxy) for ranking in rankings for row in ranking.rows],
        }


def _uncertainty_json(ranking: Ranking) -> dict[str, object]:
    known = ranking.variance.degrees_of_freedom > 0
    return {
        "seed_deviation": math.sqrt(ranking.variance.variance) if known else None,
        "degrees_of_freedom": ranking.variance.degrees_of_freedom,
        "lead": None if ranking.lead is None else asdict(ranking.lead),
    }


@dataclass(frozen=True)
class Failed:
    """A run that does not count."""

    mixture: str
    proxy: str
    seed: int
    run: str
    reason: str


@dataclass(frozen=True)
class Comparison:
    """The outcome of `compare`."""

    groups: tuple[Group, ...]
    reasons: tuple[str, ...]
    """Why runs or mixtures are in no ranking, or not in the same one."""
    failed: tuple[Failed, ...]
    objective: str
    """What was minimized, in words."""
    notes: tuple[str, ...] = ()
    """What a reader of the rankings should know."""

    @property
    def comparable(self) -> bool:
        """Whether some group ranks two mixtures."""
        return any(len(ranking.rows) > 1 for group in self.groups for ranking in group.rankings.values())

    @property
    def verdict(self) -> str:
        """What came out, in one sentence a proxy and group."""
        if not self.comparable:
            return "nothing is comparable: " + "; ".join(self.reasons)
        across = self.groups[0].across
        rankings = [ranking for group in self.groups for ranking in group.rankings.values()]
        verdicts = [ranking.verdict for ranking in rankings if ranking.lead is not None]
        return (f"across {across}: " if across else "") + "; ".join(verdicts)

    def to_json(self) -> dict[str, object]:
        """The form that `mixproof compare --json` prints."""
        return {
            "comparable": self.comparable,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "verdict": self.verdict,
            "objective": self.objective,
            "groups": [group.to_json() for group in self.groups],
            "failed": [asdict(run) for run in self.failed],
        }


def compare(
    records: Sequence[RunRecord],
    objective: Objective | None,
    across: str | None = None,
    *,
    audits: Mapping[str, bool] | None = None,
    faults: Mapping[str, str] | None = None,
    folders: Mapping[str, Path] | None = None,
    manifests: Mapping[str, Manifest] | None = None,
) -> Comparison:
    """Group runs by the facts that must agree, and rank the mixtures of each group.

    Args:
        records: of runs, finished and failed, of any number of specs; a run given twice counts once.
        objective: weights of held-out sets; None: the plain mean over sources.
        across: the one axis that may differ: `tokens`, `flops`, `tokenizer` or `recipe`.
        audits: whether the audit of a build (by its id) or of a run (by its key) was clean; where one was not, the
            runs enter nothing.
        faults: what those audits found first, in words, by the same ids and keys.
        folders: of runs, by key, for the uncertainty that comes from the choice of held-out documents.
        manifests: of builds, by id, for the bytes that mixtures lost to sources they do not hold.

    Raises:
        RequestError: when there is no such axis, or the objective weighs a source that has no held-out set.
        DamagedFileError: when a run's per-document scores are not the recorded ones.
    """
    axis = check_axis(across)
    audits = audits or {}
    failed, good = [], []
    for record in {record.key: record for record in records}.values():
        reason = _why_not(record, audits, faults or {})
        if reason is None:
            good.append((record, facts_of(record, axis, audits)))
        else:
            failed.append(Failed(record.mixture, record.proxy, record.seed, record.key, reason))
    cells = cells_of(good)
    for cell in cells:
        failed += [
            Failed(run.mixture, run.proxy, run.seed, run.key, "another run of this mixture and seed counts")
            for run in cell.spare
        ]
    groups, reasons, notes = [], _reasons(cells), []
    for members in _join(cells):
        group, aside, of_group = _group(members, axis, objective, folders or {}, manifests or {})
        reasons += aside
        notes += of_group
        groups.append(group)
    return Comparison(tuple(groups), tuple(reasons), tuple(failed), _in_words(objective), tuple(notes))


def _why_not(record: RunRecord, audits: Mapping[str, bool], faults: Mapping[str, str]) -> str | None:
    if record.status != "done":
        return record.reason or "did not finish"
    named = ((record.build, f"the audit of its build {record.build[:12]} failed"), (record.key, "its own audit failed"))
    for name, failed in named:
        if audits.get(name) is False:
            return f"{failed}: {faults[name]}" if name in faults else failed
    return None


def _join(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells of one group: shared facts agree, one cell a proxy, the largest of each proxy first."""
    groups: dict[tuple[str, int], list[Cell]] = {}
    taken: dict[tuple[str, str], int] = {}
    for cell in cells:
        shared = json.dumps(dict(cell.shared), sort_keys=True)
        number = taken.get((shared, cell.proxy), 0)
        taken[shared, cell.proxy] = number + 1
        groups.setdefault((shared, number), []).append(cell)
    return list(groups.values())


def _group(
    cells: Sequence[Cell],
    axis: Axis | None,
    objective: Objective | None,
    folders: Mapping[str, Path],
    manifests: Mapping[str, Manifest],
) -> tuple[Group, list[str], list[str]]:
    """A group, the reasons for which mixtures of it are in no ranking, and notes."""
    rankings: dict[str, Ranking] = {}
    facts: dict[str, object] = dict(cells[0].shared)
    reasons: list[str] = []
    notes: list[str] = []
    for cell in sorted(cells, key=lambda cell: cell.proxy):
        contenders, seeds, aside = share_seeds(cell.contenders)
        reasons += [f"{cell.proxy}: {reason}" for reason in aside]
        if note := note_on_layers(cell.proxy, contenders, folders):
            notes.append(note)
        weights = objective_weights(objective, sorted(next(iter(contenders[0].runs.values())).heldout))
        lost = _lost_bytes(contenders, manifests)
        rankings[cell.proxy] = rank(cell.proxy, contenders, seeds, weights, folders, lost)
        for name, value in cell.own.items():
            of_proxies = facts.setdefault(name, {})
            assert isinstance(of_proxies, dict)
            of_proxies[cell.proxy] = value
    return Group(facts, rankings, _agreement(rankings), axis), reasons, notes


def objective_weights(objective: Objective | None, sources: Sequence[str]) -> dict[str, float]:
    """Weight of each held-out source in the objective; they sum to 1. All alike where the spec names no objective."""
    if objective is None:
        return {name: 1 / len(sources) for name in sources}
    total = sum(objective.heldout_bpb.values())
    return {name: float(weight / total) for name, weight in objective.heldout_bpb.items() if weight}


def _in_words(objective: Objective | None) -> str:
    if objective is None:
        return PLAIN
    weights = ", ".join(f"{name} {weight}" for name, weight in objective.heldout_bpb.items())
    return f"mean of held-out bits per byte weighted by {weights}"


def _agreement(rankings: Mapping[str, Ranking]) -> tuple[Agreement, ...]:
    """Rank correlation of every two proxies over the mixtures of both, where there are two at least."""
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
    """Per mixture the bytes that its sources lost in deduplication to sources it does not hold."""
    lost = {}
    for contender in contenders:
        record = next(iter(contender.runs.values()))
        manifest = manifests.get(record.build)
        if manifest is not None:
            held = {name for name, part in record.delivered.items() if part.declared > 0}
            lost[contender.label] = sum(row.bytes for row in manifest.lost_outside(held))
    return lost


def _reasons(cells: Sequence[Cell]) -> list[str]:
    """Why mixtures of one proxy stand in different cells: the facts that differ, with both values."""
    reasons = []
    for proxy in sorted({cell.proxy for cell in cells}):
        mine = [cell for cell in cells if cell.proxy == proxy]
        if len(mine) == 1 and len(mine[0].contenders) == 1:
            reasons.append(f"{proxy}: only one mixture was run, {mine[0].contenders[0].label}")
        for other in mine[1:]:
            found = "; ".join(differences(mine[0].agreed, other.agreed))
            reasons.append(f"{proxy}: {_names(mine[0])} and {_names(other)} differ in {found}")
    return reasons or ([] if cells else ["no run has finished"])


def _names(cell: Cell) -> str:
    return ", ".join(contender.label for contender in cell.contenders)
