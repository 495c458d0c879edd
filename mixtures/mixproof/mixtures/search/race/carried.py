"""Scores of stopped candidates, carried to the full budget by the joint law of mixture and tokens.

A predictor that never sees the mixtures that were stopped predicts average scores for them, and later rounds would try
them again. Their scores at a rung are no scores at the full budget, so they are carried there (`joint/carry.py`).
Carried scores are only rows for predictors: a stopped candidate is never ranked by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from mixproof.mixtures.search.joint.carry import carry
from mixproof.mixtures.search.joint.process import Rows
from mixproof.mixtures.search.joint.sizes import TOKENS, Sizes
from mixproof.mixtures.search.predictors.predictor import FloatArray

FULL = 1e6
"""Tokens of the full budget; only ratios matter."""


@dataclass(frozen=True)
class RungScores:
    """Runs of one search at rungs and at the full budget."""

    shares: FloatArray
    """[runs, sources]"""
    parts: Sequence[Fraction]
    """[runs]: of the full budget."""
    scores: FloatArray
    """[runs, scores]"""

    def carried(self, rows: Sequence[int]) -> FloatArray:
        """The scores [rows, scores] of some runs, carried to the full budget."""
        values = np.array([[FULL * float(part)] for part in self.parts])
        sizes = Sizes((TOKENS,), values)
        columns = [carry(Rows(self.shares, sizes, column), np.array([FULL]))[list(rows)] for column in self.scores.T]
        return np.stack(columns, axis=1)
