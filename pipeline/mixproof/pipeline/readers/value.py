"""The column by which a source is split: a record's value in it, and the records that have a given value.

A value is non-empty text, an integer or a boolean. A record with a text but without such a value is rejected in every
part, and so is a record without a text, because the part it belongs to is unknown.
"""

from __future__ import annotations

from decimal import Decimal

from mixproof.pipeline.record import OTHER_PART, Raw, Records, Reject, detail_of, field_of, text_fault

NO_VALUE = "missing_split_value"
OTHER_KIND = "split_value_not_text"


def value_of(item: Raw, column: str) -> str | Reject:
    """Return a record's value in a column as text, or its rejection; a dot separates the names of nested fields."""
    value = field_of(item.fields or {}, column)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, Decimal) and value.is_finite() and value == int(value)):
        return str(int(value))
    if value is None or value == "":
        return Reject(item.record, None, NO_VALUE, detail_of(f"{column}: {value!r}"))
    if not isinstance(value, str) or text_fault(value) is not None:
        return Reject(item.record, None, OTHER_KIND, detail_of(f"{column}: {value!r}"))
    return value


def of_value(items: Records, column: str, value: str) -> Records:
    """The records, those with another value in the column rejected as belonging to another part."""
    for item in items:
        if isinstance(item, Raw):
            found = value_of(item, column)
            if isinstance(found, Reject):
                yield found
                continue
            if found != value:
                yield Reject(item.record, None, OTHER_PART, "")
                continue
        yield item
