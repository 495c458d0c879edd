"""What the winner trades away: parts of the objective on which it is worse than the anchor beyond their noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixproof.mixtures.search.seed_noise import analyse

from .parts import Part
from .uncertainty import HeldoutSample, bootstrap, half_width


@dataclass(frozen=True)
class Trade:
    """A part on which the winner is worse than the anchor; the fields are keys of `traded_away` in `compare --json`."""

    part: str
    difference: float
    """By how much the winner's score is worse."""
    half_width: float
    """Of the 95% interval of the difference, by seeds and documents or questions."""

    def in_words(self) -> str:
        """The part and the difference."""
        return f"{self.part} ({self.difference:.4f} ±{self.half_width:.4f} worse)"


def traded_away(
    parts: Sequence[Part], samples: Mapping[str, HeldoutSample], best: int, anchor: int, sign: int
) -> tuple[Trade, ...]:
    """Find the parts on which the best mixture is worse than the anchor.

    Args:
        parts: with scores of at least two seeds.
        samples: scores by document or question, where known; columns as the rows of the parts.
        best: row of the best mixture.
        anchor: row of the anchor.
        sign: 1 if lower is better, -1 if higher is.
    """
    found = []
    for part in parts:
        difference = sign * float(part.values[best].mean() - part.values[anchor].mean())
        noise = analyse(part.values.tolist()).of_difference(best, anchor)
        own = samples.get(part.name)
        spread = None if own is None else _spread(part.name, own, best, anchor)
        count = 0 if own is None else own.size
        width = half_width(noise, part.values.shape[1], spread, count, of=2, comparisons=1).total
        if difference > width:
            found.append(Trade(part.name, difference, width))
    return tuple(found)


def _spread(name: str, documents: HeldoutSample, first: int, second: int) -> float:
    replicates: NDArray[np.float64] = bootstrap({name: documents}, {name: 1.0})
    return float((replicates[:, first] - replicates[:, second]).std(ddof=1))
