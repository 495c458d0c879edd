"""The cells of a group: what the search for them wrote, and how many there are."""

from __future__ import annotations

from dataclasses import dataclass

from mixproof.ledger.store import Receipt

from .fine_cells import FINE, SIZES
from .nearest import BEAM


@dataclass(frozen=True)
class Cells:
    """Cells in which neighbours are looked for."""

    coarse: Receipt
    """Of the coarse centroids."""
    fine: Receipt | None
    """Of the fine cells; None if coarse cells are not divided."""
    number: int

    @property
    def config(self) -> dict[str, object]:
        """What keys hold of fine cells; empty without them."""
        if self.fine is None:
            return {}
        return {"fine": [self.fine.files[name].sha256 for name in (FINE, SIZES)], "beam": BEAM}
