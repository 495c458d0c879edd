"""The record of one source."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mixproof.ledger.account import StageRow
from mixproof.ledger.frozen_model import FrozenModel

from .datasets import HeldoutRecord, SplitRecord
from .dropped import CutsRecord, TwinsRecord
from .inputs import InputsRecord
from .left_out import is_none

SourceKind = Literal["chat", "preferences", "ratings"]
"""Sources whose records are conversations, pairs of answers, or rated answers; their tokens have a mask."""


class SourceRecord(FrozenModel):
    """Everything about one source."""

    inputs: InputsRecord
    train: SplitRecord
    heldout: HeldoutRecord
    ledger: tuple[StageRow, ...]
    cuts: tuple[CutsRecord, ...] = Field(default=(), exclude_if=lambda cuts: not cuts)
    """Absent from the file when there are none."""
    twins: TwinsRecord | None = Field(default=None, exclude_if=is_none)
    """Absent from the file when semantic duplicates were not looked for in the source."""
    substring_cuts: tuple[CutsRecord, ...] = Field(default=(), exclude_if=lambda cuts: not cuts)
    """Absent from the file when there are none."""
    kind: SourceKind | None = Field(default=None, exclude_if=is_none)
    """What the records are; None, and absent from the file, for plain documents."""
    attributes: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    """Names of the attributes that the responses of a `ratings` source are rated by, sorted."""

    @property
    def documents_per_record(self) -> int:
        """Documents in the datasets for each document in the ledger: 2 for pairs of answers, otherwise 1."""
        return 2 if self.kind == "preferences" else 1
