"""The outcome of a comparison: groups with their rankings, reasons, runs that do not count, and the JSON form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from mixproof.mixtures.search.seed_noise import SeedNoise

from .facts import Axis
from .ranking import Ranking
from .rows import row_json


@dataclass(frozen=True)
class Agreement:
    """Rank correlation of two proxies over the mixtures that both have: 1 for the same order, -1 for the reverse."""

    proxies: tuple[str, str]
    mixtures: int
    spearman: float
    kendall: float


@dataclass(frozen=True)
class Group:
    """Runs whose shared facts agree, with one ranking per proxy."""

    facts: Mapping[str, object]
    """By name; a fact that depends on the proxy is a mapping by proxy name."""
    rankings: Mapping[str, Ranking]
    """By proxy."""
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
            "parts": {ranking.proxy: {part.name: part.to_json() for part in ranking.parts} for ranking in rankings},
            "traded_away": {ranking.proxy: [asdict(trade) for trade in ranking.traded] for ranking in rankings},
            "agreement": [asdict(pair) for pair in self.agreement],
            "table": [row_json(row, ranking.proxy) for ranking in rankings for row in ranking.rows],
        }


def _uncertainty_json(ranking: Ranking) -> dict[str, object]:
    known = ranking.variance.degrees_of_freedom > 0
    return {
        "seed_deviation": math.sqrt(ranking.variance.variance) if known else None,
        "degrees_of_freedom": ranking.variance.degrees_of_freedom,
        "lead": None if ranking.lead is None else asdict(ranking.lead),
        **noise_json(ranking.noise, [row.mixture for row in ranking.rows]),
    }


def noise_json(noise: SeedNoise, mixtures: Sequence[str]) -> dict[str, object]:
    """What the analysis of seeds found, in `--json`; mixtures in the order of the analysis."""
    unequal = noise.unequal
    return {
        "seed_effect": None if noise.effect is None else asdict(noise.effect),
        "unequal_noise": None
        if unequal is None
        else asdict(unequal) | {"deviations": dict(zip(mixtures, unequal.deviations, strict=True))},
    }


@dataclass(frozen=True)
class Failed:
    """A run that does not count."""

    mixture: str
    proxy: str
    seed: int
    run: str
    """The run's key."""
    reason: str


@dataclass(frozen=True)
class Comparison:
    """The outcome of `compare`."""

    groups: tuple[Group, ...]
    reasons: tuple[str, ...]
    """Why runs or mixtures are in no ranking, or not in the same one."""
    failed: tuple[Failed, ...]
    objective: str
    """What mixtures are ranked by, in words."""
    notes: tuple[str, ...] = ()
    """Caveats for readers of the rankings."""
    higher_is_better: bool = False
    """The direction of the objective."""

    @property
    def comparable(self) -> bool:
        """Whether a group ranks at least two mixtures."""
        return any(len(ranking.rows) > 1 for group in self.groups for ranking in group.rankings.values())

    @property
    def verdict(self) -> str:
        """The outcome in words, one sentence per proxy and group."""
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
            "higher_is_better": self.higher_is_better,
            "groups": [group.to_json() for group in self.groups],
            "failed": [asdict(run) for run in self.failed],
        }
