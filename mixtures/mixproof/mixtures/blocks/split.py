"""The key `split_by` of a source: by what its documents are divided into cells."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, model_validator

from mixproof.mixtures.values.quantities import SignedNumber
from mixproof.mixtures.values.spec_part import SpecPart
from mixproof.mixtures.values.whole_numbers import Quantiles

from .labels import Clusters

CLUSTER = "cluster"
"""Name of the label by which a source with `split_by: {clusters: ...}` is divided."""
UNLABELLED = "unlabelled"
"""The cell of documents that have no value."""
PRUNED = "pruned"
"""The value of documents whose fine cluster was pruned; they leave the corpus."""


class SplitAxis(SpecPart):
    """One division of a source's documents: by the values of a label, or by the ranges of a number."""

    label: str | None = None
    """A label, or else a field of the records: each of its values makes a cell."""
    score: str | None = None
    """A label that is a number, or else a field of the records; needs `quantiles` or `edges`."""
    clusters: Clusters | None = None
    """Clusters of similar documents, found by the build: each makes a cell."""
    quantiles: Quantiles | None = None
    """Number of cells with equally many documents; documents with equal values are in the same cell."""
    edges: tuple[SignedNumber, ...] | None = Field(None, min_length=1)
    """Ascending bounds between cells; a document with the value of a bound is in the cell above it."""
    missing: Literal["unlabelled", "error"] = "unlabelled"
    """Documents without a value: a cell of their own, named `unlabelled`, or an error."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if sum(given is not None for given in (self.label, self.score, self.clusters)) != 1:
            raise ValueError("needs exactly one of `label`, `score` and `clusters`")
        if self.score is None and (self.quantiles is not None or self.edges is not None):
            raise ValueError("`quantiles` and `edges` divide a number; write `score: NAME`")
        if self.score is not None and (self.quantiles is None) == (self.edges is None):
            raise ValueError(f"`score: {self.score}` needs exactly one of `quantiles` and `edges`")
        if self.edges is not None and any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError("`edges` must ascend, each one once")
        return self

    @property
    def column(self) -> str:
        """Name of the label or field whose values decide."""
        column = self.label if self.label is not None else self.score
        return column if column is not None else CLUSTER


def cells_of_number(axis: SplitAxis) -> tuple[str, ...]:
    """Names of the cells of a number, ascending: `q01`, `q02`, ... for quantiles, `b01`, ... between edges."""
    count = axis.quantiles if axis.edges is None else len(axis.edges) + 1
    assert count is not None, "a number has edges or quantiles"
    letter, width = "q" if axis.edges is None else "b", max(2, len(str(count)))
    return tuple(f"{letter}{number:0{width}d}" for number in range(1, count + 1))
