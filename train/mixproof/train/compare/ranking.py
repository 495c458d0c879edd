"""Ranking of one proxy's mixtures: means over shared seeds, intervals, and whether the best one wins.

The objective is a weighted mean over sources of one score (`ranked_score.py`). For each mixture the table holds its
score on every source, and its data: delivered tokens and epochs next to declared share and planned tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import Manifest
from mixproof.mixtures.search.seed_noise import SeedNoise, SeedVariance, analyse
from mixproof.train.record import RunRecord

from .contenders import Contender
from .document_scores import read_documents
from .lead import Lead, judge
from .ranked_score import RankedScore
from .rows import Row, make_row
from .uncertainty import bootstrap, half_width


@dataclass(frozen=True)
class Ranking:
    """Mixtures of one proxy, the best first."""

    proxy: str
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    """Seeds that all mixtures have."""
    noise: SeedNoise
    """Of the seeds; mixtures in the order of `rows`."""
    lead: Lead | None
    """Of the best mixture over the others; None if there is no other."""
    score: RankedScore
    """What the objective is a mean of."""
    unit: str
    """Of the objective."""

    @property
    def variance(self) -> SeedVariance:
        """Variance between seeds, pooled over mixtures."""
        return self.noise.pooled

    @property
    def winner(self) -> str | None:
        """The best mixture, if its lead is significant."""
        return self.rows[0].mixture if self.lead is not None and not self.lead.unsure else None

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        if self.lead is None:
            return f"{self.proxy}: only one mixture, {self.rows[0].mixture}, with {self.rows[0].mean:.4f} {self.unit}"
        means = {row.mixture: row.mean for row in self.rows}
        return f"{self.proxy}: {self.lead.sentence(means, len(self.seeds), self.unit)}"


def rank(
    proxy: str,
    contenders: Sequence[Contender],
    seeds: Sequence[int],
    weights: Mapping[str, float],
    folders: Mapping[str, Path],
    lost_bytes: Mapping[str, int],
    score: RankedScore,
    manifest: Manifest | None,
) -> Ranking:
    """Rank one proxy's mixtures.

    Args:
        proxy: its name.
        contenders: its mixtures.
        seeds: seeds that all of them have.
        weights: of each source's held-out score; they sum to 1.
        folders: of runs, by key; if those of all runs are given, the uncertainty includes the choice of documents.
        lost_bytes: by label, for `Row.lost_bytes`.
        score: what the objective is a mean of.
        manifest: of a build of these runs, which says what kinds its sources are; None: unknown.

    Raises:
        RequestError: when a weight is for a source without a held-out set, or for a set without the score.
        DamagedFileError: when a run's scores do not match its record.
    """
    runs = [[contender.runs[seed] for seed in seeds] for contender in contenders]
    values = [[objective_of(record, weights, score) for record in of_mixture] for of_mixture in runs]
    documents = read_documents(runs, weights, folders, score)
    replicates = bootstrap(documents, weights) if documents else None
    if replicates is not None and len(replicates) < 2:
        replicates = None
    count = sum(source.size for source in documents.values())
    means = [float(np.mean(of_mixture)) for of_mixture in values]
    sign = -1 if score.higher_is_better else 1
    order = sorted(range(len(means)), key=lambda index: (sign * means[index], contenders[index].label))
    noise = analyse([values[index] for index in order])
    rows = []
    for rank_index, index in enumerate(order):
        interval = None
        if noise.pooled.degrees_of_freedom:
            spread = None if replicates is None else float(replicates[:, index].std(ddof=1))
            interval = half_width(noise.of_mean(rank_index), len(seeds), spread, count, of=1, comparisons=1)
        lost = lost_bytes.get(contenders[index].label)
        rows.append(make_row(contenders[index], runs[index], values[index], interval, score, manifest, lost))
    ordered = None if replicates is None else replicates[:, order]
    variances = [noise.of_difference(0, other) for other in range(1, len(rows))]
    lead = judge([(row.mixture, sign * row.mean) for row in rows], variances, len(seeds), ordered, count)
    unit = " and ".join(dict.fromkeys(score.unit(runs[0][0].heldout[name]) for name in weights))
    return Ranking(proxy, tuple(rows), tuple(seeds), noise, lead, score, unit)


def objective_of(record: RunRecord, weights: Mapping[str, float], score: RankedScore) -> float:
    """Return the weighted mean of a score over a run's held-out sets.

    Raises:
        RequestError: when a set is missing or does not have the score.
    """
    key = "objective.heldout_bpb" if score.name in ("default", "bits_per_byte") else "objective.sources"
    missing = sorted(set(weights) - set(record.heldout))
    if missing:
        raise RequestError(
            f"{key}: {', '.join(missing)} has no held-out set in run {record.key[:12]}, which has "
            f"{', '.join(sorted(record.heldout))}; name only these in the objective"
        )
    values = {name: score.of(record.heldout[name]) for name in weights}
    absent = sorted(name for name, value in values.items() if value is None)
    if absent:
        raise RequestError(
            f"{key}: the held-out set of {', '.join(absent)} has no {score.unit(record.heldout[absent[0]])} in run "
            f"{record.key[:12]}; leave it out of the objective, or train the run again if it is older than this score"
        )
    return sum(weight * value for name, weight in weights.items() if (value := values[name]) is not None)
