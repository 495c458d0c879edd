"""Logistic regression on static embeddings: a model in whole numbers, so that a score is the same everywhere.

The embeddings are those of clusters (`clusters/embed.py`), scaled to length 1. Both sides weigh the same, whatever
their sizes. The weights minimize the mean cross-entropy plus PENALTY / 2 times their squared length, which has one
minimum; Newton's method finds it to about 1e-12. Weights are rounded to 1 / STEPS, so that the order in which a
machine adds up floats changes no weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import canonical_json
from mixproof.pipeline.clusters.embed import UNIT, embed
from mixproof.pipeline.clusters.embed import VERSION as EMBED_VERSION
from mixproof.pipeline.clusters.token_table import TableFiles

PENALTY = 1e-3
STEPS = 1 << 16
MAX_NEWTON_STEPS = 50
CONVERGED = 1e-11
BATCH = 512


@dataclass(frozen=True)
class LinearModel:
    """A trained model."""

    weights: NDArray[np.float64]
    """[dimensions + 1], the last one the bias: whole numbers, in units of 1 / STEPS."""
    chars: int
    table: TableFiles

    def to_bytes(self) -> bytes:
        """The model's file: canonical JSON."""
        form = {
            "kind": "linear",
            "chars": self.chars,
            "table_sha256": self.table.sha256,
            "embed": EMBED_VERSION,
            "unit": UNIT,
            "steps": STEPS,
            "weights": self.weights.astype(int).tolist(),
        }
        return canonical_json(form) + b"\n"

    def scores(self, texts: Sequence[str]) -> list[float | None]:
        """The probability that each text is positive; None for a text without tokens."""
        found: list[float | None] = []
        for first in range(0, len(texts), BATCH):
            points = embed(texts[first : first + BATCH], self.table, self.chars).astype(np.float64)
            sums = points @ self.weights[:-1] + self.weights[-1] * UNIT
            chances = sigmoid(sums / (UNIT * STEPS))
            used = np.asarray(points.any(axis=1)).tolist()
            found += [chance if used[row] else None for row, chance in enumerate(chances.tolist())]
        return found


def read_linear(data: bytes, table: TableFiles, where: str) -> LinearModel:
    """Read a model from the bytes of its file.

    Raises:
        RequestError: when it was trained with another token table, or another way to embed texts.
    """
    form: dict[str, Any] = orjson.loads(data)
    if form["table_sha256"] != table.sha256 or (form["embed"], form["unit"]) != (EMBED_VERSION, UNIT):
        raise RequestError(f"{where}: the classifier was trained with another token table; name the same one")
    return LinearModel(np.array(form["weights"], np.float64), int(form["chars"]), table)


def train_linear(texts: Sequence[str], is_positive: NDArray[np.bool_], chars: int, table: TableFiles) -> LinearModel:
    """Train a model on texts; texts without tokens are left out."""
    batches = [embed(texts[first : first + BATCH], table, chars) for first in range(0, len(texts), BATCH)]
    points = np.concatenate(batches).astype(np.float64) / UNIT
    used = points.any(axis=1)
    weights = fit_logistic(points[used], is_positive[used])
    return LinearModel(np.rint(weights * STEPS), chars, table)


def fit_logistic(points: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The weights and the bias that minimize the penalized cross-entropy, each side weighing one half.

    Args:
        points: float64 [texts, dimensions].
        is_positive: bool [texts], with texts on both sides.

    Returns:
        float64 [dimensions + 1], the bias last. The bias is not penalized.
    """
    rows = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    share = np.where(is_positive, 0.5 / is_positive.sum(), 0.5 / (~is_positive).sum())
    penalty = np.full(rows.shape[1], PENALTY)
    penalty[-1] = 0
    weights = np.zeros(rows.shape[1])
    for _ in range(MAX_NEWTON_STEPS):
        chances = sigmoid(rows @ weights)
        slope = rows.T @ (share * (chances - is_positive)) + penalty * weights
        curvature = (rows * (share * chances * (1 - chances))[:, None]).T @ rows + np.diag(penalty)
        change = np.linalg.solve(curvature, slope)
        weights -= change
        if float(np.abs(change).max()) < CONVERGED:
            break
    return weights


def sigmoid(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x))."""
    found: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(sums, -700, 700)))
    return found
