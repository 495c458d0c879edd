"""Records of how a source was divided into cells: its axes, clusters among them, and its parts."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.frozen_model import FrozenModel

from .left_out import is_none
from .stored_path import StoredPath


class ClustersRecord(FrozenModel):
    """A file that states clusters: their names, telling words and typical documents, and how texts are assigned."""

    path: StoredPath
    """Relative to the store."""
    sha256: str


class AxisRecord(FrozenModel):
    """One axis by which a source was divided into cells."""

    column: str
    """Name of the label or field whose values decide."""
    cells: tuple[str, ...]
    """Names of the cells, without `unlabelled`; of a number, in ascending order."""
    edges: tuple[str, ...] = ()
    """Bounds between the cells of a number, as decimals that give the same 64-bit floats; a value of a bound is above
    it."""
    unlabelled: NonNegativeInt
    """Documents that have no value."""
    clusters: ClustersRecord | None = Field(default=None, exclude_if=is_none)
    """The clusters, if the axis is made of them; else absent from the file."""


class CellsRecord(FrozenModel):
    """How a source was divided after deduplication. Its parts are sources of this manifest."""

    axes: tuple[AxisRecord, ...]
    """One, or several that were crossed."""
    documents: NonNegativeInt
    """Documents of the source when it was divided: the sum over its parts, and those that are pruned."""
    bytes: NonNegativeInt
    parts: dict[str, Count]
    """Documents and bytes of each part; a cell without documents is not a part."""
    pruned: Count | None = Field(default=None, exclude_if=is_none)
    """Documents of fine clusters that were pruned; absent from the file if there are none."""

    def own_rows(self) -> tuple[StageRow, ...]:
        """The row `cells` of the source as a whole, which lost only what was pruned; empty if nothing was."""
        if self.pruned is None:
            return ()
        return (
            StageRow(
                stage="cells",
                documents_in=self.documents,
                documents_out=self.documents - self.pruned.documents,
                bytes_in=self.bytes,
                bytes_out=self.bytes - self.pruned.bytes,
                dropped={"pruned": self.pruned},
            ),
        )
