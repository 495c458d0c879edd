"""Rows of a ranking: what is known of one mixture, and the JSON form."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from mixproof.ledger.manifest import Manifest
from mixproof.train.record import RunRecord
from mixproof.train.score_record import HeldoutScore

from .contenders import Contender
from .facts import Value
from .ranked_score import RankedScore, default_sources
from .uncertainty import Interval

KL_ENDS = ("kl_low", "kl_high")
"""Keys of the ends of the interval of `kl`."""


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
    `margin` or `calibration_error`; after preference optimization `kl`, with the ends of its interval over prompts;
    for ratings `NAME.mean_squared_error` and other scores of each attribute. A reward model has no `bits_per_byte`."""
    scores: Mapping[str, float]
    """By source: the score that the ranking is by, mean over seeds; none for sources scored in another unit."""
    plain_mean: float
    """What is minimized without an objective (bits per byte), unweighted mean over the sources that count then."""
    token_weighted_loss: float
    """Nats per held-out token over all sources."""
    delivered: Mapping[str, Mapping[str, float]]
    """By source: `tokens`, `epochs`, `declared` share and `planned` tokens; the same for all seeds. After pretraining
    they are those of the first seed, with `supervised_tokens`, which `planned` counts then."""
    varying: Mapping[str, Value]
    """Facts that the axis allows to differ."""
    lost_bytes: int | None
    """Bytes that its sources lost in deduplication to sources outside the mixture; None: unknown."""
    parts: Mapping[str, float]
    """Score on each part of the objective, means over seeds."""

    @property
    def unranked(self) -> dict[str, float]:
        """Bits per byte of the held-out sets that are not in `scores`: such as of texts, after fine-tuning."""
        others = {name: own for name, own in self.heldout.items() if name not in self.scores}
        return {name: own["bits_per_byte"] for name, own in others.items() if "bits_per_byte" in own}


def make_row(
    contender: Contender,
    runs: Sequence[RunRecord],
    values: Sequence[float],
    interval: Interval | None,
    score: RankedScore,
    manifest: Manifest | None,
    lost_bytes: int | None,
    parts: Mapping[str, float],
) -> Row:
    """Make the row of a mixture from its runs, one for each seed."""
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
        scores=_ranked_scores(runs, score, parts),
        plain_mean=float(np.mean([minimized(heldout[name]) for name in default_sources(runs[0], manifest)])),
        token_weighted_loss=sum(heldout[name]["loss"] * tokens[name] for name in heldout) / sum(tokens.values()),
        delivered=delivered,
        varying=dict(contender.varying),
        lost_bytes=lost_bytes,
        parts=parts,
    )


def _mean_scores(runs: Sequence[RunRecord]) -> dict[str, dict[str, float]]:
    """By source: the scores that its held-out set has, means over runs."""
    found: dict[str, dict[str, float]] = {}
    for name in sorted(runs[0].heldout):
        scores = [_scores_of(record, name) for record in runs]
        known = [key for key in scores[0] if all(key in score for score in scores)]
        found[name] = {key: float(np.mean([score[key] for score in scores])) for key in known}
    return found


def _ranked_scores(runs: Sequence[RunRecord], score: RankedScore, parts: Collection[str]) -> dict[str, float]:
    """By source: the score of the ranking, mean over runs; without sources that lack it, or have it in another unit."""
    found, scored = {}, runs[0].heldout
    units = {score.unit(scored[name]) for name in parts if name in scored}
    for name in sorted(scored):
        if units and score.unit(scored[name]) not in units:
            continue
        values = [value for record in runs if (value := score.of(record.heldout[name])) is not None]
        if len(values) == len(runs):
            found[name] = float(np.mean(values))
    return found


def _scores_of(record: RunRecord, name: str) -> dict[str, float]:
    score = record.heldout[name]
    bits = {} if score.bits_per_byte is None else {"bits_per_byte": score.bits_per_byte}
    pairs = {} if score.pairs is None else score.pairs.model_dump(exclude={"pairs", "reliability", "kl_interval"})
    attributes = {
        f"{attribute}.{key}": value
        for attribute, one in (score.attributes or {}).items()
        for key, value in one.model_dump(exclude={"answers"}, exclude_none=True).items()
    }
    return {**bits, "loss": score.loss, **pairs, **_divergence(score), **attributes}


def _divergence(score: HeldoutScore) -> dict[str, float]:
    """Return the divergence from the start with its interval, of pairs or of conversations; empty if there is none."""
    of = score if score.pairs is None else score.pairs
    if of.kl is None:
        return {}
    return {"kl": of.kl} | ({} if of.kl_interval is None else dict(zip(KL_ENDS, of.kl_interval, strict=True)))


def minimized(scores: Mapping[str, float]) -> float:
    """Return what a comparison minimizes, from the scores of a held-out set, as `HeldoutScore.minimized`."""
    if "pair_accuracy" in scores:
        return 1 - scores["pair_accuracy"]
    return scores["bits_per_byte"] if "bits_per_byte" in scores else scores["loss"]


def delivered_key(delivered: Mapping[str, float]) -> str:
    """Return the key of the delivered tokens that `planned` counts: supervised ones after pretraining."""
    return "supervised_tokens" if "supervised_tokens" in delivered else "tokens"


def is_supervised(rows: Sequence[Row]) -> bool:
    """Whether `delivered` counts supervised tokens, as it does after pretraining."""
    return any("supervised_tokens" in part for row in rows for part in row.delivered.values())


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
            "parts": dict(row.parts),
            "half_width": None if row.interval is None else asdict(row.interval),
        },
        "heldout": {name: dict(score) for name, score in row.heldout.items()},
        "plain_mean_bits_per_byte": row.plain_mean,
        "token_weighted_loss": row.token_weighted_loss,
        "delivered": {name: dict(part) for name, part in row.delivered.items()},
        "across": dict(row.varying),
        "bytes_lost_to_sources_outside": row.lost_bytes,
    }
