"""Ranking of one proxy's mixtures: means over shared seeds, intervals, and whether the best one wins.

The objective is a weighted mean over sources of held-out bits per byte, of the share of wrong pairs after preference
optimization, or of the squared error of a regression; lower is better. For each mixture the table
holds its score on every source, and its data: delivered tokens and epochs next to declared share and planned tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.search.seed_noise import SeedNoise, SeedVariance, analyse
from mixproof.train.record import RunRecord

from .contenders import Contender
from .document_scores import read_documents
from .facts import Value
from .lead import Lead, judge
from .uncertainty import Interval, bootstrap, half_width


@dataclass(frozen=True)
class Row:
    """One mixture in the table."""

    mixture: str
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    """Keys, in the order of the seeds."""
    by_seed: tuple[float, ...]
    """Objective of each seed."""
    mean: float
    """Objective, mean over seeds."""
    interval: Interval | None
    """Half-widths at 95%; None if there is one seed, because the variance is unknown then."""
    heldout: Mapping[str, Mapping[str, float]]
    """By source: `bits_per_byte` and `loss` (nats per token), means over seeds; for pairs also `pair_accuracy`,
    `margin` and `kl`. A reward model has no `bits_per_byte`."""
    plain_mean: float
    """What is minimized (bits per byte), unweighted mean over sources."""
    token_weighted_loss: float
    """Nats per held-out token over all sources."""
    delivered: Mapping[str, Mapping[str, float]]
    """By source: `tokens`, `epochs`, `declared` share and `planned` tokens; the same for all seeds. After pretraining
    also `supervised_tokens`, of the first seed, and `planned` counts these."""
    varying: Mapping[str, Value]
    """Facts that the axis allows to differ."""
    lost_bytes: int | None
    """Bytes that its sources lost in deduplication to sources outside the mixture; None: unknown."""


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
    unit: str = "bits per byte"
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
) -> Ranking:
    """Rank one proxy's mixtures.

    Args:
        proxy: its name.
        contenders: its mixtures.
        seeds: seeds that all of them have.
        weights: of each source's held-out bits per byte; they sum to 1.
        folders: of runs, by key; if those of all runs are given, the uncertainty includes the choice of documents.
        lost_bytes: by label, for `Row.lost_bytes`.

    Raises:
        RequestError: when a weight is for a source without a held-out set.
        DamagedFileError: when a run's scores do not match its record.
    """
    runs = [[contender.runs[seed] for seed in seeds] for contender in contenders]
    values = [[objective_of(record, weights) for record in of_mixture] for of_mixture in runs]
    documents = read_documents(runs, weights, folders)
    replicates = bootstrap(documents, dict(weights)) if documents else None
    count = sum(len(source.text_bytes) for source in documents.values())
    means = [float(np.mean(of_mixture)) for of_mixture in values]
    order = sorted(range(len(means)), key=lambda index: (means[index], contenders[index].label))
    noise = analyse([values[index] for index in order])
    rows = []
    for rank_index, index in enumerate(order):
        interval = None
        if noise.pooled.degrees_of_freedom:
            spread = None if replicates is None else float(replicates[:, index].std(ddof=1))
            interval = half_width(noise.of_mean(rank_index), len(seeds), spread, count, of=1, comparisons=1)
        rows.append(_row(contenders[index], runs[index], values[index], interval, weights, lost_bytes))
    ordered = None if replicates is None else replicates[:, order]
    variances = [noise.of_difference(0, other) for other in range(1, len(rows))]
    lead = judge([(row.mixture, row.mean) for row in rows], variances, len(seeds), ordered, count)
    unit = " and ".join(dict.fromkeys(runs[0][0].heldout[name].unit for name in weights))
    return Ranking(proxy, tuple(rows), tuple(seeds), noise, lead, unit)


def objective_of(record: RunRecord, weights: Mapping[str, float]) -> float:
    """Weighted mean of a run's held-out bits per byte."""
    missing = sorted(set(weights) - set(record.heldout))
    if missing:
        raise RequestError(
            f"objective.heldout_bpb: {', '.join(missing)} has no held-out set in run {record.key[:12]}, which has "
            f"{', '.join(sorted(record.heldout))}; name only these in the objective"
        )
    return sum(weight * record.heldout[name].minimized for name, weight in weights.items())


def _row(
    contender: Contender,
    runs: Sequence[RunRecord],
    values: Sequence[float],
    interval: Interval | None,
    weights: Mapping[str, float],
    lost_bytes: Mapping[str, int],
) -> Row:
    heldout = _mean_scores(runs)
    tokens = {name: runs[0].heldout[name].tokens for name in heldout}
    shares = runs[0].loss_shares()
    delivered = {
        name: {
            "tokens": part.tokens,
            "epochs": part.epochs,
            "declared": part.declared,
            "planned": part.planned,
            **({} if part.supervised_tokens is None else {"supervised_tokens": part.supervised_tokens}),
            **({"loss_weight": shares[name].weight, "loss_share": shares[name].delivered} if shares else {}),
        }
        for name, part in sorted(runs[0].delivered.items())
    }
    return Row(
        mixture=contender.label,
        seeds=tuple(record.seed for record in runs),
        runs=tuple(record.key for record in runs),
        by_seed=tuple(values),
        mean=float(np.mean(values)),
        interval=interval,
        heldout=heldout,
        plain_mean=float(np.mean([minimized(score) for score in heldout.values()])),
        token_weighted_loss=sum(heldout[name]["loss"] * tokens[name] for name in heldout) / sum(tokens.values()),
        delivered=delivered,
        varying=dict(contender.varying),
        lost_bytes=lost_bytes.get(contender.label),
    )


def _mean_scores(runs: Sequence[RunRecord]) -> dict[str, dict[str, float]]:
    """By source: the scores that its held-out set has, means over runs."""
    found: dict[str, dict[str, float]] = {}
    for name in sorted(runs[0].heldout):
        scores = [_scores_of(record, name) for record in runs]
        found[name] = {key: float(np.mean([score[key] for score in scores])) for key in scores[0]}
    return found


def _scores_of(record: RunRecord, name: str) -> dict[str, float]:
    score = record.heldout[name]
    bits = {} if score.bits_per_byte is None else {"bits_per_byte": score.bits_per_byte}
    pairs = {} if score.pairs is None else score.pairs.model_dump(exclude={"pairs"})
    errors = {f"{at}.mean_squared_error": one.mean_squared_error for at, one in (score.attributes or {}).items()}
    return {**bits, "loss": score.loss, **pairs, **errors}


def minimized(scores: Mapping[str, float]) -> float:
    """Return what a comparison minimizes, from the scores of a held-out set, as `HeldoutScore.minimized`."""
    if "pair_accuracy" in scores:
        return 1 - scores["pair_accuracy"]
    return scores["bits_per_byte"] if "bits_per_byte" in scores else scores["loss"]


def delivered_key(delivered: Mapping[str, float]) -> str:
    """Return the key of the delivered tokens that `planned` speaks of: supervised ones after pretraining."""
    return "supervised_tokens" if "supervised_tokens" in delivered else "tokens"


def row_json(row: Row, proxy: str) -> dict[str, object]:
    """The form of a row in `compare --json`."""
    total = row.interval.total if row.interval else None
    return {
        "mixture": row.mixture,
        "proxy": proxy,
        "seeds": list(row.seeds),
        "runs": list(row.runs),
        "objective": {
            "mean": row.mean,
            "low": None if total is None else row.mean - total,
            "high": None if total is None else row.mean + total,
            "by_seed": list(row.by_seed),
            "half_width": None if row.interval is None else asdict(row.interval),
        },
        "heldout": {name: dict(score) for name, score in row.heldout.items()},
        "plain_mean_bits_per_byte": row.plain_mean,
        "token_weighted_loss": row.token_weighted_loss,
        "delivered": {name: dict(part) for name, part in row.delivered.items()},
        "across": dict(row.varying),
        "bytes_lost_to_sources_outside": row.lost_bytes,
    }
