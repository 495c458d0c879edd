"""Optional fields of records that are left out of the file, so that manifests without them keep their ids."""

from __future__ import annotations


def is_none(value: object) -> bool:
    """Whether a field is left out of the file, so that manifests without it keep their ids."""
    return value is None
