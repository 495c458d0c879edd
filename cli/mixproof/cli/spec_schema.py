"""The JSON Schema of a spec with the options of every step: the rooms below know one part each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from mixproof.ledger.store import publish_bytes
from mixproof.mixtures.schema import json_schema
from mixproof.pipeline.steps.step_schema import step_schema

SCHEMA_FILE = "mixproof.schema.json"
"""Beside every spec that is shipped or written; its first line names this file to yaml-language-server."""
NUMBER_KEYS = {"type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}


def spec_schema() -> dict[str, Any]:
    """Return the JSON Schema of a spec file, as `mixproof schema` prints it."""
    schema: dict[str, Any] = _with_underscores(json_schema(step_schema()))
    return schema


def _with_underscores(part: Any) -> Any:  # noqa: ANN401  any part of a schema
    """Allow `100_000` for every whole number: a spec may be written so, and for editors this is a text."""
    if isinstance(part, list):
        return [_with_underscores(item) for item in part]
    if not isinstance(part, dict):
        return part
    inner = {key: _with_underscores(value) for key, value in part.items()}
    if inner.get("type") != "integer":
        return inner
    whole = {key: inner.pop(key) for key in list(inner) if key in NUMBER_KEYS}
    return {**inner, "anyOf": [whole, {"type": "string", "pattern": "^[0-9]+(_[0-9]+)+$"}]}


def schema_bytes() -> bytes:
    """The schema as a file."""
    return orjson.dumps(spec_schema(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def write_schema(folder: Path) -> None:
    """Write the schema's file into the folder of a spec."""
    publish_bytes(schema_bytes(), folder / SCHEMA_FILE)
