"""BiMix (Ge et al. 2024): a score as a power of the share of its own source.

    score = floor + scale / (share + offset)^exponent

The paper's law has a second factor for training steps, which is the same for all mixtures of one study, and no offset;
with the offset a mixture without the source has a finite score. Tables do not say which source belongs to a score, so
the source with the smallest residuals is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from .predictor import FloatArray, ones_unless

OFFSETS = (1e-3, 3e-3, 1e-2, 3e-2)
EXPONENTS = (0.05, 0.1, 0.2, 0.4, 0.8)


@dataclass(frozen=True)
class BiMix:
    """A fitted law."""

    source: int
    offset: float
    exponent: float
    floor: float
    scale: float

    def predict(self, shares: FloatArray) -> FloatArray:
        """Predict the score [mixtures] of shares [mixtures, sources]."""
        return self.floor + self.scale * _power(shares[:, self.source], self.offset, self.exponent)

    def refit(self, shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> BiMix:
        """Fit floor and scale to other rows, with the same source, offset and exponent."""
        precise = ones_unless(weights, len(scores))
        return _fit(shares, scores, precise, self.source, self.offset, self.exponent)


def fit_bimix(shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> BiMix:
    """Fit with the source, offset and exponent that have the smallest residuals."""
    precise = ones_unless(weights, len(scores))
    laws = [_fit(shares, scores, precise, *one) for one in product(range(shares.shape[1]), OFFSETS, EXPONENTS)]
    return min(laws, key=lambda law: float(precise @ (law.predict(shares) - scores) ** 2))


def _power(share: FloatArray, offset: float, exponent: float) -> FloatArray:
    return np.asarray((share + offset) ** -exponent, np.float64)


def _fit(
    shares: FloatArray, scores: FloatArray, weights: FloatArray, source: int, offset: float, exponent: float
) -> BiMix:
    power = _power(shares[:, source], offset, exponent)
    middle, mean = (float(np.average(values, weights=weights)) for values in (power, scores))
    centered = weights * (power - middle)
    spread = float(centered @ (power - middle))
    scale = float(centered @ scores) / spread if spread > 0 else 0.0
    return BiMix(source, offset, exponent, mean - scale * middle, scale)
