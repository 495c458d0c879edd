"""Scores of runs of several sizes, carried to one size, so that a study of one size can use them all.

The carried score of a run is its score plus what the joint law says about the step from its size to the target:

    carried = score + law(mixture, target) - law(mixture, size)

The law is fitted to the other folds of mixtures, so that the carried scores of one mixture at two sizes differ by the
noise of the runs and by the law's error on a mixture that it did not see. Their scatter is therefore an honest noise.
"""

from __future__ import annotations

import numpy as np

from mixproof.mixtures.search.choose import assign_folds
from mixproof.mixtures.search.predictors.predictor import FloatArray

from .process import Rows, fit_joint


def carry(rows: Rows, target: FloatArray) -> FloatArray:
    """Carry scores [rows] to a target size [names]."""
    law, fold = fit_joint(rows), assign_folds(rows.shares)
    carried = np.empty_like(rows.scores)
    for number in np.unique(fold):
        own = np.flatnonzero(fold == number)
        shares, sizes = rows.shares[own], rows.sizes.values[own]
        others = law.refit(rows.of(np.flatnonzero(fold != number)))
        step = others.predict(shares, np.broadcast_to(target, sizes.shape)) - others.predict(shares, sizes)
        carried[own] = rows.scores[own] + step
    return carried
