"""Ranking of one proxy's mixtures: means over shared seeds, intervals, and whether the best one wins.

The objective is a weighted mean over sources of one score (`ranked_score.py`), and over tasks (`parts.py`). For each
mixture the table holds its score on every source, and its data: delivered tokens and epochs next to declared share and
planned tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.manifest import Manifest
from mixproof.mixtures.search.seed_noise import SeedNoise, SeedVariance, analyse
from mixproof.train.record import RunRecord

from .contenders import Contender
from .document_scores import read_documents
from .lead import Lead, judge
from .parts import Goal, Part, parts_of
from .ranked_score import RankedScore
from .rows import Row, make_row
from .task_scores import question_scores
from .trades import Trade, traded_away
from .uncertainty import HeldoutSample, Interval, bootstrap, half_width


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
    parts: tuple[Part, ...]
    """Of the objective; mixtures in the order of the contenders."""
    anchor: str | None
    """Label of the mixture that the winner is compared with on every part."""
    traded: tuple[Trade, ...]
    """Parts on which the winner is worse than the anchor."""

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
        sentence = f"{self.proxy}: {self.lead.sentence(means, len(self.seeds), self.unit)}"
        if not self.traded:
            return sentence
        trades = ", ".join(trade.in_words() for trade in self.traded)
        return f"{sentence}; it wins by trading away {trades}, compared with {self.anchor}"


def rank(
    proxy: str,
    contenders: Sequence[Contender],
    seeds: Sequence[int],
    goal: Goal,
    folders: Mapping[str, Path],
    lost_bytes: Mapping[str, int],
    manifest: Manifest | None,
) -> Ranking:
    """Rank one proxy's mixtures.

    Args:
        proxy: its name.
        contenders: its mixtures.
        seeds: seeds that all of them have.
        goal: what they are ranked by.
        folders: of runs, by key; if those of all runs are given, the uncertainty includes the choice of documents.
        lost_bytes: by label, for `Row.lost_bytes`.
        manifest: of a build of these runs, which says what kinds its sources are; None: unknown.

    Raises:
        RequestError: when a weight is for a source without a held-out set or without the score, or no part may enter.
        DamagedFileError: when a run's scores do not match its record.
    """
    runs = [[contender.runs[seed] for seed in seeds] for contender in contenders]
    parts = parts_of(runs, goal)
    known = _samples(runs, parts, goal, folders)
    objectives = np.sum([part.weight * part.values for part in parts], axis=0)
    means = objectives.mean(axis=1)
    order = sorted(range(len(means)), key=lambda index: (goal.sign * means[index], contenders[index].label))
    noise = analyse(objectives[order].tolist())
    resampled = _resampled(parts, known, order)
    rows = []
    for position, index in enumerate(order):
        scores = {part.name: float(part.values[index].mean()) for part in parts}
        lost, values = lost_bytes.get(contenders[index].label), objectives[index].tolist()
        interval = _interval(noise, position, len(seeds), resampled)
        rows.append(make_row(contenders[index], runs[index], values, interval, goal.score, manifest, lost, scores))
    variances = [noise.of_difference(0, other) for other in range(1, len(rows))]
    scored = [(row.mixture, goal.sign * row.mean) for row in rows]
    lead = judge(scored, variances, len(seeds), resampled.replicates, resampled.samples)
    anchor = next((index for index, one in enumerate(contenders) if _is_anchor(one, goal.anchor)), None)
    trades: tuple[Trade, ...] = ()
    if lead is not None and not lead.unsure and anchor is not None and anchor != order[0]:
        trades = traded_away(parts, known, order[0], anchor, goal.sign)
    return Ranking(
        proxy=proxy,
        rows=tuple(rows),
        seeds=tuple(seeds),
        noise=noise,
        lead=lead,
        score=goal.score,
        unit=" and ".join(dict.fromkeys(part.unit for part in parts if part.weight)),
        parts=parts,
        anchor=None if anchor is None else contenders[anchor].label,
        traded=trades,
    )


@dataclass(frozen=True)
class _Resampled:
    """Objectives of all mixtures over resampled documents."""

    replicates: NDArray[np.float64] | None
    """float64 [replicates, mixtures], the best mixture first; None if documents of some part are unknown."""
    samples: int
    """Documents and questions that were drawn from."""


def _resampled(parts: Sequence[Part], known: Mapping[str, HeldoutSample], order: Sequence[int]) -> _Resampled:
    weights = {part.name: part.weight for part in parts if part.weight}
    if not weights.keys() <= known.keys():
        return _Resampled(None, 0)
    documents = {name: known[name] for name in weights}
    samples = sum(source.size for source in documents.values())
    replicates = bootstrap(documents, weights) if documents else None
    if replicates is None or len(replicates) < 2:
        return _Resampled(None, samples)
    return _Resampled(replicates[:, order], samples)


def _interval(noise: SeedNoise, position: int, seeds: int, resampled: _Resampled) -> Interval | None:
    """Half the width of the interval of the mixture at a position of the ranking; None with one seed."""
    if not noise.pooled.degrees_of_freedom:
        return None
    replicates = resampled.replicates
    spread = None if replicates is None else float(replicates[:, position].std(ddof=1))
    return half_width(noise.of_mean(position), seeds, spread, resampled.samples, of=1, comparisons=1)


def _is_anchor(contender: Contender, anchor: str | None) -> bool:
    return any(record.mixture == anchor for record in contender.runs.values())


def _samples(
    runs: Sequence[Sequence[RunRecord]], parts: Sequence[Part], goal: Goal, folders: Mapping[str, Path]
) -> dict[str, HeldoutSample]:
    """Scores by document or question, of the parts for which they are known."""
    by_source = {part.name: part.weight for part in parts if part.name in runs[0][0].heldout}
    found = read_documents(runs, by_source, folders, goal.score) if by_source else {}
    return found | {
        part.name: question_scores(runs, part.name, goal.tasks) for part in parts if part.name not in by_source
    }
