"""The lead of the best mixture: how far it is ahead of the others, and whether that is significant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixproof.mixtures.search.seed_noise import SeedVariance

from .uncertainty import Interval, detectable, half_width, seeds_to_settle


@dataclass(frozen=True)
class Lead:
    """The best of at least two mixtures against all others; the fields are the keys of `lead` in `compare --json`."""

    best: str
    second: str
    difference: float
    """How much better the best is than the second; positive, whether low or high objectives are better."""
    interval: Interval | None
    """Half-widths of `difference` at 95%, corrected for all comparisons with the best; None with one seed each."""
    unsure: tuple[str, ...]
    """Mixtures whose difference from the best is not significant; if there is none, the best wins."""
    seeds_to_settle: int | None
    """Seeds per mixture that would make all differences significant; None if all are, or if no number would."""
    detectable: float | None
    """Minimum detectable difference: the smallest true difference that would be found with probability 80%."""

    def sentence(self, means: Mapping[str, float], num_seeds: int, unit: str) -> str:
        """The verdict in words; `means` are the objectives by mixture, in `unit`."""
        if self.interval is None or self.detectable is None:
            return (
                f"no winner: {self.best} is ahead of {self.second} by {self.difference:.4f} {unit}, but with "
                "one seed per mixture the variation between seeds is unknown; run at least two seeds"
            )
        documents = self.interval.documents
        by_documents = "unknown" if documents is None else f"±{documents:.4f}"
        lead = (
            f"{self.difference:.4f} ±{self.interval.total:.4f} {unit} (seeds ±{self.interval.seeds:.4f}, "
            f"held-out documents {by_documents}; {num_seeds} seeds)"
        )
        if not self.unsure:
            return f"{self.best} wins with {means[self.best]:.4f} {unit}, ahead of {self.second} by {lead}"
        remedy = (
            f"about {self.seeds_to_settle} seeds per mixture would settle it"
            if self.seeds_to_settle is not None
            else "more seeds alone would not settle it: train on more tokens or hold out more documents"
        )
        return (
            f"no winner: {self.best} is ahead of {self.second} by {lead}, not significantly better than "
            f"{', '.join(self.unsure)}; {remedy} (minimum detectable difference: {self.detectable:.4f})"
        )


def judge(
    ranked: Sequence[tuple[str, float]],
    variances: Sequence[SeedVariance],
    num_seeds: int,
    replicates: NDArray[np.float64] | None,
    num_documents: int,
) -> Lead | None:
    """Judge the lead of the first mixture over all others.

    Args:
        ranked: name and mean objective, the best first; negative objectives where higher is better.
        variances: for each other mixture, the variance that its difference from the first is judged on.
        num_seeds: k, seeds per mixture.
        replicates: [replicates, mixtures] in the order of `ranked`; None without per-document scores.
        num_documents: number of held-out documents that the objective covers.

    Returns:
        The lead, or None if there is only one mixture.
    """
    (best, lowest), others = ranked[0], ranked[1:]
    if not others:
        return None
    names, gaps = [name for name, _ in others], [mean - lowest for _, mean in others]
    if not variances[0].degrees_of_freedom:
        return Lead(best, names[0], gaps[0], None, tuple(names), None, None)
    spreads = _spreads(len(others), replicates)
    widths = [
        half_width(variance, num_seeds, spread, num_documents, of=2, comparisons=len(others))
        for variance, spread in zip(variances, spreads, strict=True)
    ]
    unsure = [index for index, gap in enumerate(gaps) if gap <= widths[index].total]
    needed = [
        seeds_to_settle(
            gaps[index], variances[index], num_seeds, spreads[index], num_documents, comparisons=len(others)
        )
        for index in unsure
    ]
    enough = [number for number in needed if number is not None]
    return Lead(
        best=best,
        second=names[0],
        difference=gaps[0],
        interval=widths[0],
        unsure=tuple(names[index] for index in unsure),
        seeds_to_settle=max(enough) if enough and len(enough) == len(needed) else None,
        detectable=detectable(variances[0], num_seeds, spreads[0], num_documents, len(others)),
    )


def _spreads(others: int, replicates: NDArray[np.float64] | None) -> list[float | None]:
    """Standard deviation over replicates of each other mixture's difference from the first."""
    if replicates is None:
        return [None] * others
    return [float((replicates[:, 0] - replicates[:, 1 + other]).std(ddof=1)) for other in range(others)]
