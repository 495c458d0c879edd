"""Parse a record of a store as its schema, and note as a finding what the schema refuses."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from .report import Checks

Record = TypeVar("Record", bound=BaseModel)


def parsed(model: type[Record], raw: bytes, expected: str, checks: Checks) -> Record | None:
    """Parse a record; None, with a failed check, if it does not follow its schema.

    Args:
        model: its schema.
        raw: JSON.
        expected: what it should be, such as `a manifest of schema 1`.
        checks: take the failure.
    """
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        checks.true("schema", False, expected, f"{where}: {first['msg']}")
        return None
