"""The lead of the best mixture: how far it is ahead of the others, and whether that is sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .uncertainty import Interval, SeedVariance, detectable, half_width, seeds_to_settle


@dataclass(frozen=True)
class Lead:
    """The best of two mixtures or more against all others."""

    best: str
    second: str
    difference: float
    """Objective of the second minus that of the best."""
    interval: Interval | None
    """Half-widths of `difference` at 95% for all comparisons with the best together; None with one seed each."""
    unsure: tuple[str, ...]
    """Mixtures whose difference to the best is not sure; where there is none, the best wins."""
    seeds_to_settle: int | None
    """Seeds a mixture that would make all differences sure; None where they are, or no number would."""
    detectable: float | None
    """Smallest true difference that would be found with a chance of 80%."""

    def sentence(self, means: Mapping[str, float], num_seeds: int) -> str:
        """The verdict in words; `means` are the objectives by mixture."""
        if self.interval is None or self.detectable is None:
            return (
                f"no winner: {self.best} is ahead of {self.second} by {self.difference:.4f} bits per byte, but one "
                "seed a mixture says nothing about how much seeds differ; run at least two"
            )
        documents = self.interval.documents
        by_documents = "not known" if documents is None else f"±{documents:.4f}"
        lead = (
            f"{self.difference:.4f} ±{self.interval.total:.4f} bits per byte (seeds ±{self.interval.seeds:.4f}, "
            f"held-out documents {by_documents}; {num_seeds} seeds)"
        )
        if not self.unsure:
            return f"{self.best} wins with {means[self.best]:.4f} bits per byte, ahead of {self.second} by {lead}"
        wanted = (
            f"about {self.seeds_to_settle} seeds a mixture would settle it"
            if self.seeds_to_settle is not None
            else "more seeds alone would not settle it: train on more tokens or hold out more documents"
        )
        return (
            f"no winner: {self.best} is ahead of {self.second} by {lead}, not sure against {', '.join(self.unsure)}; "
            f"{wanted} (differences from {self.detectable:.4f} are found with these)"
        )


def judge(
    ranked: Sequence[tuple[str, float]],
    variance: SeedVariance,
    num_seeds: int,
    replicates: NDArray[np.float64] | None,
    num_documents: int,
) -> Lead | None:
    """Judge the lead of the first mixture over all others.

    Args:
        ranked: name and mean objective, the best first.
        variance: between seeds.
        num_seeds: k, of each mixture.
        replicates: [replicates, mixtures] in the order of `ranked`; None where documents are not known.
        num_documents: held-out documents behind the objective.

    Returns:
        The lead, or None where there is one mixture only.
    """
    (best, lowest), others = ranked[0], ranked[1:]
    if not others:
        return None
    second, difference = others[0][0], others[0][1] - lowest
    if not variance.degrees_of_freedom:
        return Lead(best, second, difference, None, tuple(name for name, _ in others), None, None)
    spreads = [
        None if replicates is None else float((replicates[:, 0] - replicates[:, other]).std(ddof=1))
        for other in range(1, len(ranked))
    ]
    widths = [
        half_width(variance, num_seeds, spread, num_documents, of=2, comparisons=len(others)) for spread in spreads
    ]
    unsure = [index for index, (_, mean) in enumerate(others) if mean - lowest <= widths[index].total]
    needed = [
        seeds_to_settle(others[index][1] - lowest, variance, len(ranked), spreads[index], num_documents, num_seeds + 1)
        for index in unsure
    ]
    enough = [number for number in needed if number is not None]
    return Lead(
        best,
        second,
        difference,
        widths[0],
        tuple(others[index][0] for index in unsure),
        max(enough) if enough and len(enough) == len(needed) else None,
        detectable(variance, num_seeds, spreads[0], num_documents, len(others)),
    )
