"""Records of the classifiers that a build trained: their examples, and how well they separate them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt

from mixproof.ledger.account import Count
from mixproof.ledger.frozen_model import FrozenModel

from .left_out import is_none
from .stored_path import StoredPath


class ExamplesRecord(FrozenModel):
    """One source, or pattern of files, that a classifier was trained on."""

    entry: str
    """As in the spec; of files the pattern's position, as `positive[0]`."""
    side: Literal["positive", "negative"]
    total: Count
    """Documents after deduplication."""
    trained: Count
    """Documents that the classifier was trained on."""
    left_out: dict[str, Count]
    """The others by reason: `heldout` (in the share that is reserved for held-out sets), `evaluation` (overlap with
    evaluation files, labelled files or imported held-out sets), `both_sides`, `surplus` (copies, and more than
    requested)."""
    inputs_sha256: str | None = Field(default=None, exclude_if=is_none)
    """Of files: SHA-256 of the list of their names and contents. Absent from the file for a source."""


class LabelledRecord(FrozenModel):
    """What a classifier reaches on a labelled file."""

    file: str
    sha256: str
    texts: NonNegativeInt
    positive: NonNegativeInt
    auc: float
    """Area under the ROC curve, rounded to six decimals."""


class ClassifierRecord(FrozenModel):
    """A classifier that the build trained."""

    kind: Literal["fasttext", "linear"]
    chars: NonNegativeInt
    """Characters at the start of a text that it looks at."""
    model: StoredPath
    """Path relative to the store."""
    model_sha256: str
    examples: StoredPath
    """A Parquet of `source`, `is_positive`, `text_xxh128`, `text_bytes`, `text`: what it was trained on."""
    examples_sha256: str
    """SHA-256 of its rows."""
    sources: tuple[ExamplesRecord, ...]
    cross_validation: tuple[float, ...]
    """Area under the ROC curve on each fold, by a model that was trained on the other folds."""
    evaluated: tuple[LabelledRecord, ...] = ()

    @property
    def mean_auc(self) -> float:
        """The mean over the folds of the cross-validation."""
        return sum(self.cross_validation) / len(self.cross_validation)
