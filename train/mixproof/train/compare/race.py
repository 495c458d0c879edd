"""The account of a race: what every rung trained, which mixtures it stopped, and what that saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction

from mixproof.mixtures.search.race.stops import Stop
from mixproof.mixtures.values.quantities import percent_string

from .ranking import Ranking


@dataclass(frozen=True)
class RungResult:
    """One rung, or the full budget."""

    part: Fraction
    """Of the full budget; 1 for the full budget."""
    mixtures: tuple[str, ...]
    """That were trained at it, the best first."""
    trained_tokens: int
    """Trained at this rung, over all mixtures and seeds, beyond the trunks of the rung before."""
    stopped: dict[str, Stop]

    def to_json(self) -> dict[str, object]:
        """Its form in `race.rungs`."""
        return {
            "part": float(self.part),
            "mixtures": list(self.mixtures),
            "trained_tokens": self.trained_tokens,
            "stopped": sorted(self.stopped),
        }


@dataclass(frozen=True)
class Race:
    """A race that has ended."""

    confidence: Fraction
    rungs: tuple[RungResult, ...]
    full_tokens: int
    """That the full ablation trains: every mixture with every seed to the full budget."""

    @property
    def stopped(self) -> dict[str, Stop]:
        """All mixtures that were stopped."""
        return {name: stop for rung in self.rungs for name, stop in rung.stopped.items()}

    @property
    def tokens_saved(self) -> int:
        """Tokens of the full ablation that were not trained; negative if the decays of the rungs cost more."""
        return self.full_tokens - sum(rung.trained_tokens for rung in self.rungs)

    def to_json(self) -> dict[str, object]:
        """The form of `race` in `run --race --json`."""
        return {
            "confidence": float(self.confidence),
            "rungs": [rung.to_json() for rung in self.rungs],
            "stopped": {name: asdict(stop) for name, stop in self.stopped.items()},
            "full_tokens": self.full_tokens,
            "tokens_saved": self.tokens_saved,
        }

    def in_words(self) -> str:
        """What was stopped and saved, in one sentence."""
        share = self.tokens_saved / self.full_tokens
        saved = f"the race saved {self.tokens_saved:,} of {self.full_tokens:,} tokens ({share:.0%})"
        stops = [
            f"{', '.join(sorted(rung.stopped))} after {percent_string(rung.part)}"
            for rung in self.rungs
            if rung.stopped
        ]
        if not stops:
            return f"no mixture was stopped; {saved}"
        certainty = f"at {percent_string(self.confidence)} confidence over all rungs"
        return f"{saved}: stopped {'; '.join(stops)} of the tokens, {certainty}"


def objectives_of(ranking: Ranking) -> dict[str, Sequence[float]]:
    """Objectives of the mixtures of a ranking, one for each seed; lower is better."""
    sign = -1 if ranking.score.higher_is_better else 1
    return {row.mixture: [sign * value for value in row.by_seed] for row in ranking.rows}
