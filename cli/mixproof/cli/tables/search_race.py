"""The race of a search's candidates: which were stopped at which rung, and the tokens that this saved."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from mixproof.cli.output import count
from mixproof.mixtures.search.outcome import Outcome
from mixproof.mixtures.search.race.account import RaceTokens
from mixproof.mixtures.search.space import Space
from mixproof.mixtures.values.quantities import percent_string


@dataclass(frozen=True)
class Raced:
    """What the races of a search had."""

    confidence: Fraction
    tokens: RaceTokens


def race_json(outcome: Outcome, race: Raced, space: Space) -> dict[str, object]:
    """The form of `race` in the JSON of a search."""
    tokens = race.tokens
    rungs = [(done.number, rung) for done in outcome.rounds for rung in done.rungs]
    return {
        "confidence": float(race.confidence),
        "rungs": [
            {
                "round": number,
                "part": float(rung.part),
                "candidates": rung.candidates,
                "repeated": rung.repeated,
                "stopped": len(rung.stopped),
            }
            for number, rung in rungs
        ],
        "stopped": [
            {
                "mixture": {name: float(share) for name, share in space.mixture(stop.units).items()},
                "round": number,
                "rung": stop.rung,
                "score": stop.score,
                "difference": stop.difference,
                "p_value": stop.p_value,
            }
            for number, rung in rungs
            for stop in rung.stopped
        ],
        "full_tokens": tokens.full,
        "trained_tokens": tokens.trained,
        "tokens_saved": tokens.saved,
    }


def race_sentence(outcome: Outcome, race: Raced) -> str:
    """What was stopped and saved, in one sentence."""
    stopped, tokens = dict[Fraction, int](), race.tokens
    for done in outcome.rounds:
        for rung in done.rungs:
            stopped[rung.part] = stopped.get(rung.part, 0) + len(rung.stopped)
    candidates = sum(done.rungs[0].candidates for done in outcome.rounds if done.rungs)
    did, share = "saved" if tokens.saved >= 0 else "cost", abs(tokens.saved) / tokens.full
    saved = f"the races of the search {did} {count(abs(tokens.saved))} of {count(tokens.full)} tokens ({share:.0%})"
    stops = [f"{number} after {percent_string(part)} of the tokens" for part, number in stopped.items() if number]
    if not stops:
        return f"{saved}: none of {candidates} candidates was stopped"
    certainty = f"at {percent_string(race.confidence)} confidence over the rungs of a round"
    return f"{saved}: of {candidates} candidates they stopped {', '.join(stops)}, {certainty}"
