"""The tokens that a search with races trains, and those of the same search without them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from mixproof.mixtures.search.space import Units

Run = tuple[Units, int, Fraction]
"""A mixture, a seed, and the part of the full budget that it was trained to."""


@dataclass(frozen=True)
class RunTokens:
    """Tokens of a run to one part of the full budget."""

    trunk: int
    decay: int


@dataclass(frozen=True)
class RaceTokens:
    """Tokens of a whole search: anchor, candidates, repeats and finalists."""

    trained: int
    full: int
    """Without races: every run to the full budget."""

    @property
    def saved(self) -> int:
        """Tokens that were not trained; negative if the decays of the rungs cost more than was saved."""
        return self.full - self.trained


def race_tokens(runs: Iterable[Run], tokens_of: Mapping[Fraction, RunTokens], first_seed: int) -> RaceTokens:
    """Count tokens. Runs of one mixture and seed share their trunk, and each has a decay of its own.

    Args:
        runs: of the search.
        tokens_of: of a run, by part of the full budget.
        first_seed: the seed of all candidates. Second runs of candidates that stopped are not part of a search without
            races, which repeats as many candidates at the end.
    """
    parts_of: dict[tuple[Units, int], set[Fraction]] = {}
    for units, seed, part in runs:
        parts_of.setdefault((units, seed), set()).add(part)
    trained = full = 0
    for (_, seed), parts in parts_of.items():
        trained += tokens_of[max(parts)].trunk + sum(tokens_of[part].decay for part in parts)
        if seed == first_seed or max(parts) == 1:
            full += tokens_of[Fraction(1)].trunk + tokens_of[Fraction(1)].decay
    return RaceTokens(trained, full)
