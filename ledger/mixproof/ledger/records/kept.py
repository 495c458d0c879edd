"""Records of the rules by which a source kept documents."""

from __future__ import annotations

from mixproof.ledger.frozen_model import FrozenModel

from .stored_path import StoredPath


class KeptRule(FrozenModel):
    """One rule by which a source keeps documents, with its bounds."""

    column: str
    """Name of a label, or of its confidence."""
    values: tuple[str, ...] = ()
    """Values of a category that stay; empty for a number."""
    low: str | None = None
    """Smallest number that stays, as a decimal that gives the same 64-bit float; of a top share, its exact bound."""
    high: str | None = None
    """Largest number that stays."""
    keeps_missing: bool
    """Whether documents without a value stay."""


class KeptRecord(FrozenModel):
    """By which rules a source kept documents after deduplication; its ledger row `keep` counts what they dropped."""

    rules: tuple[KeptRule, ...]
    """In the order in which they were applied."""
    path: StoredPath
    """A Parquet of `file`, `record`, `id`, `reason`, `text_xxh128`, `text_bytes`: the documents that were dropped."""
    sha256: str
    """SHA-256 of its rows."""
