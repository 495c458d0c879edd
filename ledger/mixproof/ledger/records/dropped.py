"""Records of what documents lost after exact and fuzzy deduplication: parts of their text, or all of it."""

from __future__ import annotations

from pydantic import NonNegativeInt

from mixproof.ledger.frozen_model import FrozenModel

from .stored_path import StoredPath


class CutsRecord(FrozenModel):
    """Documents that lost paragraphs or substrings to a copy elsewhere, in the order of the source.

    `path` is a Parquet of `file`, `record`, `id`, `lost_to`, `bytes`, `dropped`, and of what was cut. Paragraphs:
    `paragraphs` (indices from 0). Substrings, a list each with one item for each match: `starts`, `lengths` (bytes of
    the text as it was before), `kept_sources`, `kept_files`, `kept_records`, `kept_starts` (where these bytes occur
    first) and `xxh128` (of these bytes).
    """

    path: StoredPath
    sha256: str
    """SHA-256 of the rows of `path`."""
    documents: NonNegativeInt
    """Rows."""


class TwinsRecord(FrozenModel):
    """Documents that were dropped as semantic duplicates, in the order of the source.

    `path` is a Parquet of `file`, `record`, `id`, `bytes`, `kept_source`, `kept_file`, `kept_record`, `cosine`.
    """

    path: StoredPath
    sha256: str
    """SHA-256 of the rows of `path`."""
    documents: NonNegativeInt
    """Rows."""
    compared: NonNegativeInt
    """Documents of the source that were compared; the others are too short, or their tokens are."""
