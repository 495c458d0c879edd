"""A comparison as rows: a row a mixture and proxy, the best first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import pyarrow as pa

from mixproof.train.compare.comparison import Comparison
from mixproof.train.compare.ranking import Ranking

from .rows import Rows

COLUMNS = pa.schema(
    [
        ("group", pa.int64()),
        ("proxy", pa.string()),
        ("rank", pa.int64()),
        ("mixture", pa.string()),
        ("objective", pa.float64()),
        ("seeds_margin", pa.float64()),
        ("documents_margin", pa.float64()),
        ("seeds", pa.list_(pa.int64())),
        ("bits_per_byte", pa.map_(pa.string(), pa.float64())),
    ]
)


@dataclass(frozen=True)
class RankedMixture:
    """One mixture in a ranking."""

    group: int
    """Number of its group, from 0; only mixtures of one group and proxy may be compared."""
    proxy: str
    rank: int
    """1 for the best."""
    mixture: str
    objective: float
    """What the ranking is by, mean over seeds: bits per byte, or the score that the objective names."""
    seeds_margin: float | None
    """Half-width of the 95% interval that seeds give; None where one seed cannot tell."""
    documents_margin: float | None
    """Half-width of the 95% interval that the choice of held-out documents gives; None where it is not known."""
    seeds: tuple[int, ...]
    bits_per_byte: dict[str, float]
    """By held-out set, mean over seeds."""


@dataclass(frozen=True)
class Compared:
    """What `compare` found."""

    verdict: str
    """In one sentence a proxy and group."""
    comparable: bool
    """Whether two mixtures could be ranked at all."""
    reasons: tuple[str, ...]
    """Why runs or mixtures are in no ranking, or not in the same one."""
    ranking: Rows[RankedMixture]
    details: Comparison
    """Everything else: facts of the groups, notes, failed runs, rank agreement of proxies."""


def compared(comparison: Comparison) -> Compared:
    """Give a comparison as rows."""
    rows = [
        row
        for number, group in enumerate(comparison.groups)
        for ranking in group.rankings.values()
        for row in _ranked(number, ranking)
    ]
    ranking = Rows(rows, COLUMNS, asdict)
    return Compared(comparison.verdict, comparison.comparable, comparison.reasons, ranking, comparison)


def _ranked(group: int, ranking: Ranking) -> Iterator[RankedMixture]:
    for place, row in enumerate(ranking.rows, 1):
        interval = row.interval
        yield RankedMixture(
            group=group,
            proxy=ranking.proxy,
            rank=place,
            mixture=row.mixture,
            objective=row.mean,
            seeds_margin=None if interval is None else interval.seeds,
            documents_margin=None if interval is None else interval.documents,
            seeds=row.seeds,
            bits_per_byte={
                name: scores["bits_per_byte"] for name, scores in row.heldout.items() if "bits_per_byte" in scores
            },
        )
