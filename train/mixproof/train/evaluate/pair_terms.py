"""Scores of pairs: the rewards of both answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixproof.train.post_training.calibration import bins_of, confidences, hits
from mixproof.train.score_record import ReliabilityBin


@dataclass(frozen=True)
class PairTerms:
    """What is known of each answer of a set of pairs; documents 2i and 2i + 1 are chosen and rejected."""

    reward: NDArray[np.float64]
    """[documents] reward of each answer; implicit, beta × log-ratio, after preference optimization."""

    @property
    def differences(self) -> NDArray[np.float64]:
        """[pairs] reward of the chosen minus that of the rejected answer."""
        return self.reward[::2] - self.reward[1::2]

    @property
    def accuracy(self) -> float:
        """Share of the pairs with a higher reward of the chosen answer; equal ones count half."""
        return float(hits(self.differences).mean())

    @property
    def margin(self) -> float:
        """Mean difference of rewards."""
        return float(self.differences.mean())

    def reliability(self) -> tuple[ReliabilityBin, ...]:
        """Return the bins of confidence that have pairs, the lowest first."""
        bins, confidence, right = bins_of(self.differences), confidences(self.differences), hits(self.differences)
        return tuple(
            ReliabilityBin(
                pairs=int((bins == number).sum()),
                confidence=float(confidence[bins == number].mean()),
                accuracy=float(right[bins == number].mean()),
            )
            for number in np.unique(bins).tolist()
        )

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """Return the columns of `scores.parquet`."""
        return {"reward": self.reward}
