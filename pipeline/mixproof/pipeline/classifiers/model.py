"""A trained classifier in the store, loaded once per process: the probability that a text is positive."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.labels import Classifier
from mixproof.pipeline.clusters.token_table import TableFiles

from .fasttext_format import POSITIVE
from .fasttext_scoring import label_scores
from .linear import read_linear

STAGE = "classifiers"
FILES = {"fasttext": "model.bin", "linear": "model.json"}
Scores = Callable[[Sequence[str]], list[float | None]]


@dataclass(frozen=True)
class TrainedModel:
    """A model's file, and how texts are prepared for it."""

    path: str
    """Relative to the store."""
    sha256: str
    chars: int
    table: TableFiles | None = None
    """Of a linear model."""

    def scorer(self, store: Store) -> Scores:
        """Load the model; returns the function that scores texts."""
        return scorer_of(store.path(self.path), self.sha256, self.chars, self.table)


def scorer_of(path: Path, sha256: str, chars: int, table: TableFiles | None) -> Scores:
    """Load a model from its file; returns the function that scores texts."""
    if table is not None:
        return _linear(str(path), sha256, table)
    score = label_scores(str(path), sha256, POSITIVE)
    return lambda texts: score([text[:chars] for text in texts])


@functools.lru_cache(maxsize=2)
def _linear(path: str, _sha256: str, table: TableFiles) -> Scores:
    return read_linear(Path(path).read_bytes(), table, path).scores


def file_of(classifier: Classifier) -> str:
    """Name of the file of a model of this kind."""
    return FILES[classifier.kind]
