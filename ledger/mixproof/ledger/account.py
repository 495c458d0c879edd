"""Accounts: what a stage did to documents and bytes, and the equations E1 to E3, which must close.

One `StageRow` records what one stage or step did to one shard. Rows of the same stage add up to the row of
the source. All counts are integers. Bytes are UTF-8 bytes of the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from pydantic import Field, NonNegativeInt

from .errors import AccountError
from .frozen_model import FrozenModel


class Count(FrozenModel):
    """How much was dropped for one reason."""

    documents: NonNegativeInt
    bytes: NonNegativeInt

    def __add__(self, other: Count) -> Count:
        """Sum of two counts."""
        return Count(documents=self.documents + other.documents, bytes=self.bytes + other.bytes)


class StageRow(FrozenModel):
    """One row of the ledger: one stage or step, for a shard or (summed) for a source.

    The first row of a source is `read`: its `documents_in` counts raw records, rejected records are
    dropped with 0 bytes, and `bytes_in` counts the texts of the documents.
    """

    stage: str
    documents_in: NonNegativeInt
    documents_out: NonNegativeInt
    bytes_in: NonNegativeInt
    bytes_out: NonNegativeInt
    bytes_added: NonNegativeInt = 0
    """Bytes that formatters added to the documents they kept."""
    bytes_removed: NonNegativeInt = 0
    """Bytes that formatters removed from the documents they kept."""
    dropped: dict[str, Count] = Field(default={})
    replaced: dict[str, NonNegativeInt] = Field(default={}, exclude_if=lambda replaced: not replaced)
    """How often a step replaced something in the documents it kept, by kind; absent where it does not count."""

    def check(self, *, source: str = "", unit: str = "") -> StageRow:
        """Return the row if E2 closes (E1 for `read`), else raise AccountError."""
        equation = "E1" if self.stage == "read" else "E2"
        dropped = sum((count.documents for count in self.dropped.values()), 0)
        if self.documents_in != self.documents_out + dropped:
            raise AccountError(
                equation,
                self.documents_in,
                self.documents_out + dropped,
                source=source,
                stage=self.stage,
                unit=unit,
            )
        dropped_bytes = sum((count.bytes for count in self.dropped.values()), 0)
        expected, found = self.bytes_in + self.bytes_added, self.bytes_out + dropped_bytes + self.bytes_removed
        if expected != found:
            raise AccountError("E2", expected, found, source=source, stage=self.stage, unit=unit)
        return self


def sum_rows(rows: Iterable[StageRow]) -> StageRow:
    """Add the rows of one stage; counts of the same reason are added.

    Raises:
        ValueError: when there is no row, or the rows belong to different stages.
    """
    rows = list(rows)
    stages = {row.stage for row in rows}
    if len(stages) != 1:
        raise ValueError(f"only rows of one stage can be added; these belong to {sorted(stages)}")
    dropped: dict[str, Count] = {}
    replaced: Counter[str] = Counter()
    for row in rows:
        replaced.update(row.replaced)
        for reason, count in row.dropped.items():
            dropped[reason] = dropped[reason] + count if reason in dropped else count
    return StageRow(
        stage=rows[0].stage,
        documents_in=sum(row.documents_in for row in rows),
        documents_out=sum(row.documents_out for row in rows),
        bytes_in=sum(row.bytes_in for row in rows),
        bytes_out=sum(row.bytes_out for row in rows),
        bytes_added=sum(row.bytes_added for row in rows),
        bytes_removed=sum(row.bytes_removed for row in rows),
        dropped=dict(sorted(dropped.items())),
        replaced=dict(sorted(replaced.items())),
    )


def check_chain(rows: Sequence[StageRow], *, source: str, unit: str = "") -> None:
    """Check E2 (E1 for `read`) for each row, and E3 at every boundary: what leaves one row enters the next.

    Raises:
        AccountError: when an equation does not close.
    """
    for row in rows:
        row.check(source=source, unit=unit)
    for before, after in pairwise(rows):
        if (before.documents_out, before.bytes_out) != (after.documents_in, after.bytes_in):
            raise AccountError(
                "E3",
                f"{before.documents_out} documents, {before.bytes_out} bytes out of {before.stage}",
                f"{after.documents_in} documents, {after.bytes_in} bytes",
                source=source,
                stage=after.stage,
                unit=unit,
            )
