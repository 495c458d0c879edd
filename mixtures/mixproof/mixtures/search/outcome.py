"""What a search in rounds measured and found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from mixproof.mixtures.search.choice.confirmation import Confirmation, gain_over_anchor, traded_away
from mixproof.mixtures.search.choice.final_choice import FinalChoice

from .noise import Gain, Noise
from .objective import FittedObjective
from .race.round_stops import CandidateStop
from .space import Units as Units


@dataclass(frozen=True)
class Trial:
    """One run to measure."""

    units: Units
    """Share of each source, in units of the space."""
    seed: int
    part: Fraction = Fraction(1)
    """Of the full budget; below 1 at a rung of a race."""


@dataclass(frozen=True)
class Measured:
    """A trial and its score."""

    trial: Trial
    parts: tuple[float, ...]
    """The scores whose weighted mean is the objective."""
    score: float
    """The objective; lower is better."""


@dataclass(frozen=True)
class RoundRung:
    """What one rung of a round's race did."""

    number: int
    part: Fraction
    """Of the full budget."""
    candidates: int
    """That were trained to it."""
    repeated: int
    """Of these, how many with a second seed as well."""
    stopped: tuple[CandidateStop, ...]


@dataclass(frozen=True)
class Round:
    """What one round did."""

    number: int
    exploited: int
    explored: int
    rank_correlation: float | None
    """K-fold rank correlation of the predictor that chose the candidates; None in the first round."""
    best: float
    """Lowest score so far."""
    repeated: int = 0
    """Candidates that were run a second time."""
    rungs: tuple[RoundRung, ...] = ()
    """Of its race; empty without one."""

    @property
    def stopped(self) -> int:
        """Candidates that were stopped."""
        return sum(len(rung.stopped) for rung in self.rungs)


@dataclass(frozen=True)
class Outcome:
    """What the search found."""

    measured: tuple[Measured, ...]
    """Every trial with a score, in the order of submission, without the fresh trials of the finalists."""
    failed: tuple[Trial, ...]
    rounds: tuple[Round, ...]
    objective: FittedObjective
    """The last predictor."""
    noise: Noise
    refused: str | None
    """Why no finalist was trained; None when they were."""
    choice: FinalChoice | None
    """The finalists and what the study recommends before they are trained."""
    anchor: tuple[float, ...]
    """Scores of the anchor's first successful trials, in the order of the plan's seeds."""
    confirmations: tuple[Confirmation, ...]
    """The finalists with the scores of their fresh trials, best first."""
    parts: tuple[str, ...]
    """Names of the parts of the objective, in the order of `Measured.parts`."""
    rejected: Mapping[str, str]
    """Parts that were left out, each with the reason."""

    @property
    def traded(self) -> dict[str, tuple[float, float]]:
        """Parts on which the best finalist is worse than the anchor: by how much, and the half-width at 95%."""
        return traded_away(self.confirmations, self.parts)

    @property
    def gain(self) -> Gain | None:
        """By how much the best finalist scored lower than the anchor; None when that is unknown."""
        return gain_over_anchor(self.confirmations)

    @property
    def recommended(self) -> Confirmation | None:
        """The finalist with the lowest score; None when none is recommended."""
        return self.confirmations[0] if self.reason is None else None

    @property
    def optimum(self) -> Confirmation | None:
        """The predicted optimum, trained with the fresh seeds; None when no finalist was trained."""
        return next((one for one in self.confirmations if self.choice and one.units == self.choice.optimum), None)

    @property
    def reason(self) -> str | None:
        """Why no mixture is recommended, before or after measuring the finalists; None when one is."""
        if self.refused is not None:
            return self.refused
        if not any(one.scores for one in self.confirmations if one.finalist.kind != "anchor"):
            return "all runs of the finalists failed, so none of them is recommended"
        if self.gain is None and self.confirmations[0].finalist.kind == "anchor":
            return "no finalist scored better than the anchor"
        if self.gain is not None and self.gain.low <= 0:
            return (
                f"the best of {len(self.confirmations) - 1} finalists scored {self.gain.mean:.4g} better than the "
                f"anchor, with a 95% interval from {self.gain.low:.4g} to {self.gain.high:.4g}, which does not exclude "
                "0; repeat them with more seeds, or train the proxies longer"
            )
        return None
