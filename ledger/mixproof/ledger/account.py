"""Accounts: what a stage did to documents and bytes, and the equations E2 and E3 that must close.

One `StageRow` says what one stage or step did to one shard; rows of the same stage add up to the row of
a source. Integers everywhere. Bytes are UTF-8 bytes of the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, NonNegativeInt

from .errors import AccountError


class Count(BaseModel):
    """How much went for one reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    documents: NonNegativeInt
    bytes: NonNegativeInt

    def __add__(self, other: Count) -> Count:
        """Sum of two counts."""
        return Count(documents=self.documents + other.documents, bytes=self.bytes + other.bytes)


class StageRow(BaseModel):
    """One row of the ledger: one stage or step, for a shard or (summed) for a source.

    The first row of a source is `read`: its `documents_in` counts raw records, rejected ones are
    dropped with 0 bytes, and `bytes_in` counts the texts of the documents.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    documents_in: NonNegativeInt
    documents_out: NonNegativeInt
    bytes_in: NonNegativeInt
    bytes_out: NonNegativeInt
    bytes_added: NonNegativeInt = 0
    """Bytes that a formatter added to documents that it kept."""
    bytes_removed: NonNegativeInt = 0
    """Bytes that a formatter took out of documents that it kept."""
    dropped: dict[str, Count] = {}

    def check(self, *, source: str = "", shard: str = "") -> StageRow:
        """Return the row if E2 closes (E1 for `read`), else raise AccountError."""
        equation = "E1" if self.stage == "read" else "E2"
        gone = sum((count.documents for count in self.dropped.values()), 0)
        if self.documents_in != self.documents_out + gone:
            raise AccountError(
                equation,
                self.documents_in,
                self.documents_out + gone,
                source=source,
                stage=self.stage,
                shard=shard,
            )
        bytes_gone = sum((count.bytes for count in self.dropped.values()), 0)
        have, want = self.bytes_in + self.bytes_added, self.bytes_out + bytes_gone + self.bytes_removed
        if have != want:
            raise AccountError("E2", have, want, source=source, stage=self.stage, shard=shard)
        return self


def sum_rows(rows: Iterable[StageRow]) -> StageRow:
    """Add rows of one stage; reasons add by name.

    Raises:
        ValueError: when there is no row, or the rows are of different stages.
    """
    rows = list(rows)
    stages = {row.stage for row in rows}
    if len(stages) != 1:
        raise ValueError(f"rows of one stage can be added, these are of {sorted(stages)}")
    dropped: dict[str, Count] = {}
    for row in rows:
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
    )


def check_chain(rows: Sequence[StageRow], *, source: str, shard: str = "") -> None:
    """Check E2 for each row and E3 at every boundary: what leaves one row enters the next."""
    for row in rows:
        row.check(source=source, shard=shard)
    for before, after in pairwise(rows):
        if (before.documents_out, before.bytes_out) != (after.documents_in, after.bytes_in):
            raise AccountError(
                "E3",
                f"{before.documents_out} documents, {before.bytes_out} bytes out of {before.stage}",
                f"{after.documents_in} documents, {after.bytes_in} bytes",
                source=source,
                stage=after.stage,
                shard=shard,
            )
