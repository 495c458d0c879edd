"""The fields of records that a spec names, and whether the first records have them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.source import Source
from mixproof.mixtures.key_positions import KeyPath
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.readers.batch_rows import DEFAULT_ID
from mixproof.pipeline.record import field_of
from mixproof.pipeline.steps.step import is_number

from .files import InputFile
from .first_rows import Row, first_rows

MOST_RECORDS = 2000
"""Records of a file that are searched for a field which the first few do not have."""
MOST_FILES = 20
SHOWN_FIELDS = 12


def named_fields(source: Source) -> dict[KeyPath, str]:
    """The fields that a source's records must have, by key: without one, a step would drop every document."""
    named: dict[KeyPath, object] = {("split_by",): source.split_column}
    for index, step in enumerate(source.steps):
        if step.name != "datatrove":
            named["steps", index, step.name, "field"] = step.options.get("field")
    return {key: name for key, name in named.items() if isinstance(name, str)}


def label_fields(spec: Spec, name: str) -> dict[KeyPath, tuple[str, bool]]:
    """The fields that give a source its own labels and its axes: by key, the field, and whether it is a number."""
    source, labels = spec.sources[name], spec.labels_of(name)
    keys: dict[KeyPath, str] = {("labels", label, "field"): label for label in source.labels}
    keys |= {("split_by", index): axis.column for index, axis in enumerate(source.axes)}
    fields = {key: labels[label].field for key, label in keys.items() if label in labels}
    return {key: (field.name, field.type == "number") for key, field in fields.items() if field is not None}


def check_fields(spec: Spec, name: str, rows: Mapping[InputFile, Sequence[Row]]) -> None:
    """Refuse a field that no record has, or whose values cannot be what the spec makes of them.

    Raises:
        RequestError: naming the key and the fields that there are.
    """
    source = spec.sources[name]
    records = [row for first in rows.values() for row in first if isinstance(row, Mapping)]
    own: dict[KeyPath, str] = named_fields(source) | ({("id",): source.id} if source.id != DEFAULT_ID else {})
    wanted: dict[KeyPath, tuple[str, Callable[[Any], bool]]] = {key: (field, _anything) for key, field in own.items()}
    if source.split_column is not None:
        wanted["split_by",] = (source.split_column, _is_category)
    for key, field in own.items():
        if key[-2:] == ("score", "field"):
            wanted[key] = (field, is_number)
    for key, (field, number) in label_fields(spec, name).items():
        wanted[key] = (field, is_number if number else _is_category)
    for key, (field, fits) in wanted.items() if records else ():
        values = _values(records, field) or _values(_more(spec, rows), field)
        where = spec.where("sources", name, *key)
        if not values:
            if any(_has_key(record, field) for record in records):
                continue  # null so far: a column of a table may have values further on
            shown = shown_fields(records[0])
            raise RequestError(
                f"{where}: none of the first records of its files has a field {field!r}; they have {shown}"
            )
        least = len(values) // 2 + 1 if key == ("split_by",) else 1  # a record without a part is rejected
        if sum(map(fits, values)) < least:
            raise RequestError(f"{where}: {_misfit(field, next(value for value in values if not fits(value)), fits)}")


def shown_fields(record: Mapping[str, Any]) -> str:
    """The names of a record's fields, for messages."""
    fields = [f"{key} (an object)" if isinstance(value, dict) else key for key, value in record.items()]
    more = f" and {len(fields) - SHOWN_FIELDS} more" if len(fields) > SHOWN_FIELDS else ""
    return (", ".join(fields[:SHOWN_FIELDS]) or "no fields") + more


def type_of(value: object) -> str:
    """What a JSON value is, for messages."""
    names = {dict: "an object", list: "a list", bool: "true or false", type(None): "null", str: "text"}
    return names.get(type(value), "a number")


def _values(records: Sequence[Mapping[str, Any]], field: str) -> list[object]:
    return [value for record in records if (value := field_of(record, field)) is not None]


def _more(spec: Spec, rows: Mapping[InputFile, Sequence[Row]]) -> list[Mapping[str, Any]]:
    """More records of some of the files: a label may be rare."""
    found: Iterator[Row] = (
        row for file in list(rows)[:MOST_FILES] for row in first_rows(file, spec.limits, MOST_RECORDS)
    )
    return [row for row in found if isinstance(row, Mapping)]


def _has_key(record: Mapping[str, Any], field: str) -> bool:
    """Whether a record has a field, also a null one; a map may have any."""
    if field in record:
        return True
    value: object = record
    for part in field.split("."):
        if isinstance(value, list):
            return True
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]
    return True


def _anything(_: object) -> bool:
    return True


def _is_category(value: object) -> bool:
    """Whether a value can name a part: text, a whole number, or true and false."""
    if isinstance(value, float | Decimal):
        return math.isfinite(value) and value == int(value)
    return isinstance(value, int) or (isinstance(value, str) and value != "")


def _misfit(field: str, value: object, fits: Callable[[Any], bool]) -> str:
    if fits is _is_category:
        way = f"; write {{score: {field}, quantiles: 4}}" if is_number(value) else "; name a field of categories"
        return f"the field {field!r} holds {type_of(value)}, not text or whole numbers{way}"
    return f"the field {field!r} holds {type_of(value)}, not numbers; name another field"
