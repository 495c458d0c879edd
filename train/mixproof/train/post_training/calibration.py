"""Calibration of pairs: how well the confidence of a reward model fits its accuracy.

By Bradley-Terry, sigmoid of the difference of two rewards is the probability that the first answer is better. A reward
model prefers the answer with the higher reward, with a confidence of 0.5 to 1. Confidence and accuracy are compared
in bins of equal width; the mean gap is the expected calibration error (Guo et al. 2017, arXiv 1706.04599).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 10
"""Of the confidence, from 0.5 to 1."""


def hits(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 where the chosen answer has the higher reward, 0.5 where both are equal, else 0."""
    found: NDArray[np.float64] = (differences > 0) + 0.5 * (differences == 0)
    return found


def confidences(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sigmoid(|difference|), 0.5 to 1."""
    return 1 / (1 + np.exp(-np.abs(differences)))


def bins_of(differences: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each pair's confidence, from 0."""
    return np.minimum((confidences(differences) - 0.5) * 2 * BINS, BINS - 1).astype(np.int64)
