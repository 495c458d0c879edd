"""What a reader yields: documents and rejected records, each at its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

DETAIL_CHARS = 200

BLANK = "blank_line"
POISON = "poison"
"""A document that hung or crashed the process; see `quarantine.py`."""
PASSED_OVER = frozenset(
    {BLANK, "not_a_response", "not_a_conversion", "status_not_200", "not_html", "no_main_text", "record_too_large"}
)
"""Reasons counted like those of rejected records, though nothing is wrong with the record."""


class Raw(NamedTuple):
    """A record that holds a text."""

    record: int
    """Place in the shard, from 0."""
    id: str | None
    text: str
    fields: dict[str, Any] | None = None
    """Everything else in the record, where a step asks for it."""


class Reject(NamedTuple):
    """A record that holds no text that can be used."""

    record: int
    line: int | None
    """Line in the shard, from 1; None where the format has no lines."""
    reason: str
    detail: str
    """The start of the raw record."""


Records: TypeAlias = Iterator[Raw | Reject]


def detail_of(raw: bytes | str) -> str:
    """The first 200 characters of a raw record, whatever bytes are in it."""
    if isinstance(raw, str):
        raw = raw[:DETAIL_CHARS].encode(errors="backslashreplace")
    return raw[: 4 * DETAIL_CHARS].decode(errors="backslashreplace")[:DETAIL_CHARS]


def id_of(value: object) -> str | None:
    """A record's id as text: numbers as JSON spells them, null and absent as None."""
    if value is None or isinstance(value, str):
        return value
    return str(value)


def text_fault(text: object) -> str | None:
    """Why a value cannot be a document's text, as a reason; None where it can."""
    if text is None:
        return "missing_text"
    if not isinstance(text, str):
        return "text_not_string"
    if not text:
        return "empty_text"
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        return "lone_surrogate"
    return None
