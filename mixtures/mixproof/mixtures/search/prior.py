"""A prior to the proportional mixture: a predicted score plus a penalty on the distance from it.

    predicted(shares) + weight · KL(shares || proportional)

as in Ai2's olmix. Where the data say little, the optimum stays near the proportional mixture; where they say much, it
moves. The divergence is strictly convex, so with a convex predictor (`linear`, `mixing_law`) the optimum within caps is
unique and found from any start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mixproof.mixtures.search.predictors.predictor import FloatArray, Predictor

LEAST = 1e-9
"""Shares of the proportional mixture below this count as this."""


@dataclass(frozen=True)
class WithPrior:
    """A predictor with the penalty."""

    predictor: Predictor
    center: FloatArray
    """[sources]: the proportional mixture."""
    weight: float
    """Score that a divergence of one nat costs."""
    counts: FloatArray | None = None
    """[sources]: how much the divergence of each share counts, such as the length of its phase; None: 1 each."""

    def predict(self, shares: FloatArray) -> FloatArray:
        """Predicted score plus penalty [mixtures] of shares [mixtures, sources]."""
        return self.predictor.predict(shares) + self.weight * divergence(shares, self.center, self.counts)

    def refit(self, shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> WithPrior:
        """Refit the predictor to other rows."""
        return replace(self, predictor=self.predictor.refit(shares, scores, weights))


def divergence(shares: FloatArray, center: FloatArray, counts: FloatArray | None = None) -> FloatArray:
    """KL divergence [mixtures] of shares [mixtures, sources] from a center [sources], in nats; see `WithPrior`."""
    ratio = np.where(shares > 0, shares / np.maximum(center, LEAST), 1.0)
    nats = np.maximum(shares, 0.0) * np.log(ratio)
    return np.asarray((nats if counts is None else nats * counts).sum(axis=1), np.float64)
