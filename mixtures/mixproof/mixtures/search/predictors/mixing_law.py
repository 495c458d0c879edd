"""The mixing law of Ye et al. (2024, "Data Mixing Laws"): a floor plus the exponential of a linear form of the shares.

    score = floor + exp(coefficients · shares)

Each score (one validation domain) has its own law. Shares sum to 1, so the paper's factor before the exponential is
part of the coefficients. Least squares from several floors: given a floor, the logarithm of the score above it is
linear in the shares, and from there all constants are refined together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from .predictor import FloatArray, ones_unless

DEPTHS = (0.03, 0.3, 1.0, 3.0, 10.0)
"""Starting floors: how far they are below the lowest score, in spreads of the scores."""
PENALTY = 1e-3
"""Weight of the coefficients' distance from their mean, for sources with hardly any share in any mixture."""
MOST_EXPONENT = 50.0


@dataclass(frozen=True)
class MixingLaw:
    """A fitted law."""

    center: float
    scale: float
    """The law is fitted to (score - center) / scale, so that one penalty suits all scores."""
    floor: float
    coefficients: FloatArray
    """[sources]"""

    def predict(self, shares: FloatArray) -> FloatArray:
        """Predict the score [mixtures] of shares [mixtures, sources]."""
        return self.center + self.scale * (self.floor + _exponential(shares, self.coefficients))

    def refit(self, shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> MixingLaw:
        """Fit to other rows, from the constants of this law."""
        center, scale = _scale_of(scores)
        precise = ones_unless(weights, len(scores))
        return _refine(shares, scores, precise, center, scale, (self.floor, self.coefficients))


def fit_mixing_law(shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> MixingLaw:
    """Fit from every starting floor, and keep the law with the smallest residuals."""
    precise = ones_unless(weights, len(scores))
    center, scale = _scale_of(scores)
    scaled = (scores - center) / scale
    laws = []
    for depth in DEPTHS:
        floor = float(scaled.min()) - depth
        coefficients = np.asarray(np.linalg.lstsq(shares, np.log(scaled - floor))[0], np.float64)
        laws.append(_refine(shares, scores, precise, center, scale, (floor, coefficients)))
    return min(laws, key=lambda law: float(precise @ (law.predict(shares) - scores) ** 2))


def _scale_of(scores: FloatArray) -> tuple[float, float]:
    return float(scores.mean()), float(scores.std()) or 1.0


def _exponential(shares: FloatArray, coefficients: FloatArray) -> FloatArray:
    return np.asarray(np.exp(np.minimum(shares @ coefficients, MOST_EXPONENT)), np.float64)


def _refine(
    shares: FloatArray,
    scores: FloatArray,
    weights: FloatArray,
    center: float,
    scale: float,
    start: tuple[float, FloatArray],
) -> MixingLaw:
    scaled, sources, root = (scores - center) / scale, shares.shape[1], np.sqrt(weights)
    around_mean = PENALTY * (np.eye(sources) - 1 / sources)

    def residuals(values: FloatArray) -> FloatArray:
        misfit = values[0] + _exponential(shares, values[1:]) - scaled
        return np.concatenate([root * misfit, around_mean @ values[1:]])

    def jacobian(values: FloatArray) -> FloatArray:
        by_coefficients = _exponential(shares, values[1:])[:, None] * shares
        rows = root[:, None] * np.hstack([np.ones((len(scaled), 1)), by_coefficients])
        return np.vstack([rows, np.hstack([np.zeros((sources, 1)), around_mean])])

    found = least_squares(residuals, np.concatenate([[start[0]], start[1]]), jac=jacobian, max_nfev=100)
    return MixingLaw(center, scale, float(found.x[0]), np.asarray(found.x[1:], np.float64))
