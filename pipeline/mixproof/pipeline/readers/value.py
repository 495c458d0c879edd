"""The column that a source is split by: what a record has in it, and the records that have one value.

A value is text that is not empty, a whole number or a truth value. A record that holds a text and no such value is
rejected in every part, as are records that hold no text: whose they would have been is not known.
"""

from __future__ import annotations

from mixproof.pipeline.record import OTHER_PART, Raw, Records, Reject, detail_of, field_of, text_fault

NO_VALUE = "missing_split_value"
OTHER_KIND = "split_value_not_text"


def value_of(item: Raw, column: str) -> str | Reject:
    """Give a record's value in a column as text, or why it has none; a dot leads into a nested field."""
    value = field_of(item.fields or {}, column)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if value is None or value == "":
        return Reject(item.record, None, NO_VALUE, detail_of(f"{column}: {value!r}"))
    if not isinstance(value, str) or text_fault(value) is not None:
        return Reject(item.record, None, OTHER_KIND, detail_of(f"{column}: {value!r}"))
    return value


def of_value(items: Records, column: str, value: str) -> Records:
    """The records that have this value in the column; the others are those of another part."""
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
