"""The record of a source's raw files."""

from __future__ import annotations

from pydantic import NonNegativeInt

from mixproof.ledger.frozen_model import FrozenModel

from .stored_path import StoredPath


class InputsRecord(FrozenModel):
    """The raw files of a source; `path` is a Parquet of `file`, `sha256`, `bytes`, `records`."""

    path: StoredPath
    sha256: str
    """SHA-256 of the rows of `path` (`ledger/content.py`), the same for every version of its writer."""
    files: NonNegativeInt
    records: NonNegativeInt
    bytes: NonNegativeInt
