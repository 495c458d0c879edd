"""Rank the mixtures of a table of runs from elsewhere, apart from audited runs.

Runs with the same parameters and tokens form a ranking; only seeds that all its mixtures have count, and a lead is
judged as for audited runs. Nothing else about the runs can be checked, so the outcome carries the list of what was
not. Rankings of different sizes or budgets are set side by side by Spearman's and Kendall's rank correlation over
their common mixtures; the 95% interval comes from resampling mixtures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, product

import numpy as np
from scipy import stats

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import derive_seed
from mixproof.mixtures.key_positions import nearest
from mixproof.mixtures.search.seed_noise import SeedNoise, analyse
from mixproof.train.reported.runs_table import ReportedRun, ReportedRuns

from .comparison import noise_json
from .lead import Lead, judge
from .uncertainty import half_width

LEAST_MIXTURES = 4
"""Mixtures that an interval of a rank correlation needs."""
REPLICATES = 1000
Size = tuple[int, int]
"""Parameters and tokens."""


@dataclass(frozen=True)
class ReportedRow:
    """One mixture of a ranking."""

    mixture: str
    by_seed: tuple[float, ...]
    """The objective; lower is better."""
    mean: float
    half_width: float | None
    """Of the 95% interval over seeds; None with one seed."""


@dataclass(frozen=True)
class ReportedRanking:
    """Mixtures of one size and token budget, the best first."""

    size: Size
    seeds: tuple[str, ...]
    rows: tuple[ReportedRow, ...]
    noise: SeedNoise
    """Of the seeds; mixtures in the order of `rows`."""
    lead: Lead | None

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        name = f"{self.size[0]:,} parameters, {self.size[1]:,} tokens"
        if self.lead is None:
            return f"{name}: only one mixture, {self.rows[0].mixture}"
        means = {row.mixture: row.mean for row in self.rows}
        return f"{name}: {self.lead.sentence(means, len(self.seeds), unit='of the objective')}"

    def to_json(self) -> dict[str, object]:
        """Its JSON form."""
        return {
            "parameters": self.size[0],
            "tokens": self.size[1],
            "seeds": list(self.seeds),
            "ranking": [row.mixture for row in self.rows],
            "winner": self.rows[0].mixture if self.lead is not None and not self.lead.unsure else None,
            "verdict": self.verdict,
            **noise_json(self.noise, [row.mixture for row in self.rows]),
            "table": [asdict(row) for row in self.rows],
        }


@dataclass(frozen=True)
class SizeAgreement:
    """Rank correlation of two rankings over their common mixtures."""

    first: Size
    second: Size
    mixtures: int
    spearman: float
    interval: tuple[float, float] | None
    """95% interval of Spearman's correlation; None with fewer than four mixtures."""
    kendall: float


@dataclass(frozen=True)
class ReportedComparison:
    """The outcome for a table."""

    table: ReportedRuns
    objective: str
    rankings: tuple[ReportedRanking, ...]
    agreement: tuple[SizeAgreement, ...]
    reasons: tuple[str, ...]
    """Why runs are in no ranking."""

    @property
    def comparable(self) -> bool:
        """Whether a ranking has at least two mixtures."""
        return any(len(ranking.rows) > 1 for ranking in self.rankings)

    @property
    def verdict(self) -> str:
        """One sentence per ranking of at least two mixtures."""
        found = [ranking.verdict for ranking in self.rankings if ranking.lead is not None]
        return (
            "; ".join(found)
            or "nothing is comparable: no two mixtures have the same parameters, tokens and a common seed"
        )

    def to_json(self) -> dict[str, object]:
        """The form that `mixproof compare --table --json` prints."""
        return {
            "comparable": self.comparable,
            "objective": self.objective,
            "verdict": self.verdict,
            "rankings": [ranking.to_json() for ranking in self.rankings],
            "agreement": [asdict(pair) for pair in self.agreement],
            "reasons": list(self.reasons),
            "table": self.table.to_json(),
        }


def compare_reported(table: ReportedRuns, names: Sequence[str], higher_is_better: bool = False) -> ReportedComparison:
    """Rank the mixtures of a table.

    Args:
        table: the runs.
        names: scores whose plain mean is the objective; may be empty if the table has a single score.
        higher_is_better: whether the scores are better when higher; the objective is then their negative mean.

    Raises:
        RequestError: when a score is unknown, or none is named and the table has several.
    """
    if not names and len(table.scores) > 1:
        raise RequestError(f"{table.path} has several scores; name them with --objective: {', '.join(table.scores)}")
    minimized = tuple(dict.fromkeys(names or table.scores))
    for name in minimized:
        if name not in table.scores:
            raise RequestError(f"--objective {name}: no such score; {nearest(name, table.scores)}")
    sign = -1.0 if higher_is_better else 1.0
    reasons, by_size = [], dict[Size, list[ReportedRun]]()
    for run in table.runs:
        missing = [name for name in minimized if name not in run.scores]
        if missing:
            reasons.append(f"{run.mixture}, seed {run.seed}: has no {', '.join(missing)}")
        else:
            by_size.setdefault((run.parameters, run.tokens), []).append(run)
    rankings = []
    for size in sorted(by_size):
        _check_units(by_size[size], minimized)
        ranking, excluded = _rank(size, by_size[size], minimized, sign)
        rankings.append(ranking)
        reasons += excluded
    objective = ("negative " if higher_is_better else "") + f"mean of {', '.join(minimized)}"
    return ReportedComparison(table, objective, tuple(rankings), _agreement(rankings), tuple(reasons))


def _check_units(runs: Sequence[ReportedRun], names: Sequence[str]) -> None:
    """Refuse runs of one size of which some have a fraction and others a percentage.

    Raises:
        RequestError: naming two of them.
    """
    for name in names:
        fractions = [run for run in runs if 0 < run.scores[name] <= 1]
        percentages = [run for run in runs if 10 < run.scores[name] <= 100]
        for one, other in product(fractions[:1], percentages[:1]):
            raise RequestError(
                f"{name}: {one.mixture} (seed {one.seed}) has {one.scores[name]:g} and {other.mixture} (seed "
                f"{other.seed}) {other.scores[name]:g} at the same size, so one seems to be a fraction and the other a "
                "percentage; write all in one unit"
            )


def _rank(
    size: Size, runs: Sequence[ReportedRun], names: Sequence[str], sign: float
) -> tuple[ReportedRanking, list[str]]:
    """Rank one size; mixtures without the most frequent seed are left out, with the reason."""
    scores: dict[str, dict[str, float]] = {}
    for run in runs:
        scores.setdefault(run.mixture, {})[run.seed] = sign * float(np.mean([run.scores[name] for name in names]))
    holders = {seed: sum(seed in own for own in scores.values()) for own in scores.values() for seed in own}
    commonest = max(sorted(holders), key=lambda seed: holders[seed])
    reasons = [f"{mixture} has no run with seed {commonest}" for mixture, own in scores.items() if commonest not in own]
    scores = {mixture: own for mixture, own in scores.items() if commonest in own}
    seeds = sorted(set.intersection(*(set(own) for own in scores.values())))
    values = {mixture: tuple(own[seed] for seed in seeds) for mixture, own in scores.items()}
    ordered = sorted(values, key=lambda mixture: (float(np.mean(values[mixture])), mixture))
    noise = analyse([values[mixture] for mixture in ordered])
    rows = [
        ReportedRow(mixture, values[mixture], float(np.mean(values[mixture])), _half_width(noise, index))
        for index, mixture in enumerate(ordered)
    ]
    variances = [noise.of_difference(0, other) for other in range(1, len(rows))]
    lead = judge([(row.mixture, row.mean) for row in rows], variances, len(seeds), None, 0)
    return ReportedRanking(size, tuple(seeds), tuple(rows), noise, lead), reasons


def _half_width(noise: SeedNoise, mixture: int) -> float | None:
    if not noise.pooled.degrees_of_freedom:
        return None
    return half_width(noise.of_mean(mixture), noise.values.shape[1], None, 0, of=1, comparisons=1).total


def _agreement(rankings: Sequence[ReportedRanking]) -> tuple[SizeAgreement, ...]:
    """Of every two rankings with at least two common mixtures."""
    pairs = []
    for first, second in combinations(rankings, 2):
        one, other = ({row.mixture: row.mean for row in ranking.rows} for ranking in (first, second))
        both = sorted(set(one) & set(other))
        if len(both) > 1:
            values = np.array([[one[name], other[name]] for name in both])
            spearman = float(stats.spearmanr(*values.T).statistic)
            kendall = float(stats.kendalltau(*values.T).statistic)
            interval = _interval(values) if len(both) >= LEAST_MIXTURES else None
            pairs.append(SizeAgreement(first.size, second.size, len(both), spearman, interval, kendall))
    return tuple(pairs)


def _interval(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[float, float]:
    """95% interval of Spearman's correlation of [mixtures, 2] objectives, by resampling mixtures."""
    random = np.random.default_rng(derive_seed("agreement", 0))
    found = []
    for _ in range(REPLICATES):
        ranks = stats.rankdata(values[random.integers(0, len(values), len(values))], axis=0)
        centered = ranks - ranks.mean(axis=0)
        norm = float(np.sqrt((centered**2).sum(axis=0).prod()))
        if norm > 0:
            found.append(float(centered[:, 0] @ centered[:, 1]) / norm)
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)
