"""Whether a search can end with a recommendation at all, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.search.candidates import LEAST_DISTANCE, draw, generator, select
from mixproof.mixtures.search.noise import LEAST_MIXTURES
from mixproof.mixtures.search.space import MOST_SOURCES, UNITS, Space

POOL = 4096
MOST_RUNS = 10_000
"""A Gaussian process over this many mixtures needs a matrix of 800 MB."""


def check_rounds(rounds: Sequence[int], repeats: int) -> None:
    """Reject rounds with too few candidates to judge a predictor, or with more runs than a predictor can be fitted to.

    Args:
        rounds: candidates of each round; the anchor is one mixture more.
        repeats: seeds of the anchor.

    Raises:
        SpecError: naming the smallest number of candidates, or the largest number of runs.
    """
    candidates = sum(rounds)
    if candidates + 1 < LEAST_MIXTURES:
        raise SpecError(
            f"--rounds: {candidates} candidates and the anchor are too few mixtures to judge a predictor, so none "
            f"could be recommended; give at least {LEAST_MIXTURES - 1} candidates"
        )
    if candidates + repeats > MOST_RUNS:
        raise SpecError(
            f"--rounds, --repeats: {candidates:,} candidates and {repeats:,} runs of the anchor are too many to fit a "
            f"predictor to; together, at most {MOST_RUNS:,} are possible"
        )


def check_space(space: Space) -> None:
    """Reject a space that does not hold enough distinct mixtures to judge a predictor.

    Raises:
        SpecError: naming the number of mixtures and the largest share of every source, or the number of sources.
    """
    if len(space.sources) > MOST_SOURCES:
        raise SpecError(
            f"{len(space.sources):,} sources are too many to search; at most {MOST_SOURCES} are possible; keep some "
            "together as groups in `search.fixed`, or split sources into fewer parts"
        )
    usable = [name for name, most in zip(space.sources, space.most_units, strict=True) if most]
    if len(usable) < 2:
        raise SpecError(f"a search needs at least two sources to mix, and only {', '.join(usable)} can be used")
    found = _mixtures_of_two(space) if len(usable) == 2 else _mixtures_at_most(space)
    if found < LEAST_MIXTURES:
        room = ", ".join(f"{name} {most / 100:g}%" for name, most in zip(space.sources, space.most_units, strict=True))
        raise SpecError(
            f"supply and caps leave room for {found} mixtures that differ by {LEAST_DISTANCE:.0%} or more; a search "
            f"needs {LEAST_MIXTURES} (largest shares: {room}); raise `target.max_epochs`, lower the tokens, or add text"
        )


def _mixtures_of_two(space: Space) -> int:
    """How many mixtures of two sources are at least `LEAST_DISTANCE` apart: those on one line."""
    first, second = (most for most in space.most_units if most)
    return (first - (UNITS - second)) // round(LEAST_DISTANCE * UNITS) + 1


def _mixtures_at_most(space: Space) -> int:
    """At most how many mixtures are at least `LEAST_DISTANCE` apart, counted up to `LEAST_MIXTURES`.

    No two of them are within half of it of the same mixture, so they are at most as many as a set that leaves no
    mixture farther than half of it away.
    """
    pool = np.unique(draw(space, POOL, generator("room")), axis=0)
    return len(select(pool, pool[:0], LEAST_MIXTURES, LEAST_DISTANCE / 2))
