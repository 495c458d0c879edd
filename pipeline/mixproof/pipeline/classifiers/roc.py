"""ROC-AUC: the probability that a positive text has a higher score than a negative one, ties counting one half."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DECIMALS = 6
"""An area is rounded to these, so that it has the same digits on every machine."""


def roc_auc(scores: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> float:
    """The area under the ROC curve, by ranks (Mann and Whitney).

    Args:
        scores: float64 [texts].
        is_positive: bool [texts], with at least one text on each side.
    """
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    positives = int(is_positive.sum())
    negatives = len(scores) - positives
    above = float(ranks[is_positive].sum()) - positives * (positives + 1) / 2
    return round(above / (positives * negatives), DECIMALS)
