"""The signal-to-noise ratio of a score: how far mixtures are apart, relative to the noise of one run.

Signal and noise are those of Heineman et al. 2025 (Signal and Noise, Ai2): the largest difference of the mean scores
of two models, and the standard deviation of the score of one model. Both are relative to the mean score, which cancels
in the ratio. There the noise is that of a run's last checkpoints; here it is that between seeds, pooled over mixtures,
which also includes initial weights and the order of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_OF_TASKS = 2.0
"""Bound for tasks. The mean range of four mixtures with two seeds and without any difference is 1.5 deviations."""


@dataclass(frozen=True)
class SignalToNoise:
    """Signal and noise of one score, in its unit; the fields are keys of `parts` in `compare --json`."""

    signal: float
    """Largest difference of the means of two mixtures."""
    noise: float | None
    """Standard deviation of one run between seeds; None without repeats."""

    @property
    def ratio(self) -> float | None:
        """Signal divided by noise; None if the noise is unknown or 0."""
        return self.signal / self.noise if self.noise else None


def measure(mixture: NDArray[np.int64], scores: NDArray[np.float64]) -> SignalToNoise:
    """Measure a score [runs] of runs whose mixtures are numbered from 0 [runs]."""
    counts = np.bincount(mixture)
    means = np.bincount(mixture, weights=scores) / counts
    degrees = len(scores) - len(means)
    squares = float(((scores - means[mixture]) ** 2).sum())
    return SignalToNoise(float(means.max() - means.min()), float(np.sqrt(squares / degrees)) if degrees else None)


def why_rejected(name: str, found: SignalToNoise, least: float) -> str | None:
    """Why a score may not enter an objective; None if it may, or if its noise is unknown."""
    ratio = found.ratio
    if ratio is None or ratio >= least:
        return None
    return (
        f"{name} does not enter the objective: its signal-to-noise ratio is {ratio:.2f}, below {least:g} (mixtures "
        f"differ by at most {found.signal:.4g}, and one run varies by {found.noise:.4g} between seeds); add questions, "
        "train longer, or name it in objective.force"
    )


def admitted(weights: Mapping[str, float], rejected: Mapping[str, str]) -> dict[str, float]:
    """The weights without the rejected scores, whose weight is 0; the others sum to 1 again, unless all are 0."""
    kept = {name: 0.0 if name in rejected else weight for name, weight in weights.items()}
    total = sum(kept.values())
    return {name: weight / total for name, weight in kept.items()} if total else kept
