"""Paths in records: relative to the store, checked when a record is read, because it may be another team's."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from mixproof.ledger.files import leads_out


def _inside(path: str) -> str:
    if leads_out(path):
        raise ValueError(f"{path!r} leads out of the store")
    return path


StoredPath = Annotated[str, AfterValidator(_inside)]
"""A path relative to a folder, or a name that paths are made of."""
