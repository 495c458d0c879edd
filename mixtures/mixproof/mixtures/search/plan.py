"""The plan of a search: how many candidates are run, in which rounds and with which seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mixproof.mixtures.blocks.search import FINALISTS, REPEATS, ROUNDS

from .lower_bound import DEVIATIONS
from .race.round_stops import RoundRace


@dataclass(frozen=True)
class Plan:
    """How many candidates are run, in which rounds and with which seeds."""

    rounds: tuple[int, ...] = ROUNDS
    """Number of candidates in each round."""
    seeds: tuple[int, ...] = tuple(range(1, REPEATS + 1))
    """Seeds of the anchor; every candidate uses the first."""
    fresh_seeds: tuple[int, ...] = tuple(range(REPEATS + 1, 2 * REPEATS + 1))
    """Seeds of the finalists, none of which any earlier run had."""
    finalists: int = FINALISTS
    """Number of best measured candidates among the finalists."""
    prior: float = 0.0
    """Score that a divergence of one nat from the proportional mixture costs the optimum."""
    repeated: int = 0
    """Candidates of the first round that are run a second time, with the anchor's second seed."""
    exploitation: float = 0.75
    """Share of a later round's candidates that follow the predictor."""
    deviations: float = DEVIATIONS
    """Standard deviations of the ensemble below its mean, where the confidence bounds are that candidates follow."""
    name: str = "search"
    """Name that seeds every random draw."""
    race: RoundRace | None = None
    """When candidates of a round may stop early; None: all are run to the full budget."""
    least_ratios: Mapping[str, float] = field(default_factory=dict)
    """Least signal-to-noise ratio, by part of the objective; a part below it is left out after the first round."""
