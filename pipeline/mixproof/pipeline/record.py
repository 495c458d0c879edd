"""What a reader yields: documents and rejected records, each at its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

DETAIL_CHARS = 200

BLANK = "blank_line"
EMPTY_TEXT = "empty_text"
POISON = "poison"
"""A document that hung or crashed the process; see `quarantine.py`."""
OTHER_PART = "of_another_part"
"""A record of a split source that another of its parts takes."""
PASSED_OVER = frozenset(
    {BLANK, OTHER_PART, "not_a_response", "not_a_conversion", "status_not_200", "not_html", "no_main_text"}
    | {"record_too_large"}
)
"""Reasons counted like those of rejected records, though nothing is wrong with the record."""


class Raw:
    """A record that holds a text: as a string or as UTF-8, as the format has it; the other is made when asked for."""

    __slots__ = ("_data", "_text", "fields", "id", "record")

    def __init__(self, record: int, id: str | None, text: str | bytes, fields: dict[str, Any] | None = None) -> None:
        self.record = record
        """Place in the shard, from 0."""
        self.id = id
        self.fields = fields
        """Everything else in the record, where a step asks for it."""
        self._text: str | None = None if isinstance(text, bytes) else text
        self._data: bytes | None = text if isinstance(text, bytes) else None

    @property
    def text(self) -> str:
        """The text."""
        if self._text is None:
            assert self._data is not None
            self._text = self._data.decode()
        return self._text

    @property
    def data(self) -> bytes:
        """The text's UTF-8."""
        if self._data is None:
            assert self._text is not None
            self._data = self._text.encode()
        return self._data

    def __eq__(self, other: object) -> bool:
        """Equal where place, id, text and fields are."""
        if not isinstance(other, Raw):
            return NotImplemented
        mine, others = ((one.record, one.id, one.data, one.fields) for one in (self, other))
        return mine == others

    __hash__ = None  # type: ignore[assignment]  # fields are a dict

    def __repr__(self) -> str:
        """As it would be made."""
        return f"Raw({self.record}, {self.id!r}, {self.text!r}, {self.fields!r})"


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


def field_of(fields: Mapping[str, object], name: str) -> object:
    """Give a record's field: by its whole name, else by its parts between dots; None where there is none."""
    if name in fields:
        return fields[name]
    value: object = fields
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def text_fault(text: object) -> str | None:
    """Why a value cannot be a document's text, as a reason; None where it can."""
    if text is None:
        return "missing_text"
    if not isinstance(text, str):
        return "text_not_string"
    if not text:
        return EMPTY_TEXT
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        return "lone_surrogate"
    return None
