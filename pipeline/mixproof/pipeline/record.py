"""What a reader yields: documents and rejected records, each with its index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

import orjson

DETAIL_CHARS = 200

BLANK = "blank_line"
EMPTY_TEXT = "empty_text"
POISON = "poison"
"""The reason for a document that hung or crashed the process, or on which a step failed; see `quarantine.py`."""
OTHER_PART = "of_another_part"
"""The reason for a record that belongs to another part of a split source."""
TOO_LONG = "document_too_long"
"""The reason for a text longer than `limits.document_bytes`."""
PASSED_OVER = frozenset(
    {BLANK, TOO_LONG, OTHER_PART, "not_a_response", "not_a_conversion", "status_not_200", "not_html", "no_main_text"}
    | {"record_too_large", "tie", "labelled_false"}
)
"""Reasons counted like those of rejected records, although nothing is wrong with the record."""


class Prompt(NamedTuple):
    """The prompt of a conversation, without the words of a template."""

    text: str
    """Contents of its turns without a system turn, a line break between them."""
    system_xxh64: bytes
    """xxh3_64 of the system turn's content, 8 bytes; of an empty text if there is none."""


class Raw:
    """A record with a text. The reader gives it as a string or as UTF-8; the other form is made on first use."""

    __slots__ = ("_data", "_text", "fields", "id", "marks", "prompt", "prompt_hash", "record")

    def __init__(
        self,
        record: int,
        id: str | None,
        text: str | bytes,
        fields: dict[str, Any] | None = None,
        marks: bytes | None = None,
        prompt_hash: bytes | None = None,
        prompt: Prompt | None = None,
    ) -> None:
        self.record = record
        """Index in the shard, from 0."""
        self.id = id
        self.fields = fields
        """The record's other fields, if a step uses them."""
        self.marks = marks
        """Of a rendered conversation: its marks as JSON (`chat/marks.py`)."""
        self.prompt_hash = prompt_hash
        """Of a rendered conversation: xxh3_128 of its rendered prompt."""
        self.prompt = prompt
        """Of a conversation whose prompt is compared with similar ones."""
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
        """Whether index, id, text and fields are equal."""
        if not isinstance(other, Raw):
            return NotImplemented
        mine, others = ((one.record, one.id, one.data, one.fields, one.marks) for one in (self, other))
        return mine == others

    __hash__ = None  # type: ignore[assignment]  # fields are a dict

    def __repr__(self) -> str:
        """The expression that makes it."""
        return f"Raw({self.record}, {self.id!r}, {self.text!r}, {self.fields!r})"


class Reject(NamedTuple):
    """A record without a usable text."""

    record: int
    line: int | None
    """Line in the shard, from 1; None if the format has no lines."""
    reason: str
    detail: str
    """The start of the raw record."""


Records: TypeAlias = Iterator[Raw | Reject]


def detail_of(raw: bytes | str) -> str:
    """The first 200 characters of a raw record, invalid bytes escaped."""
    if isinstance(raw, str):
        raw = raw[:DETAIL_CHARS].encode(errors="backslashreplace")
    return raw[: 4 * DETAIL_CHARS].decode(errors="backslashreplace")[:DETAIL_CHARS]


def id_of(value: object) -> str | None:
    """A record's id as text: truth values, lists and objects as JSON spells them, null and absent as None.

    Parsing loses how JSON spelled a number; the reader of JSON lines gives it as text.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | list | dict):
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return format(value, "f") if isinstance(value, Decimal) and value.is_finite() else str(value)


def field_of(fields: Mapping[str, object], name: str) -> object:
    """A record's field by its full name, else by the names between dots; None if there is none.

    The maps of Arrow, which it gives as lists of pairs, are looked into like objects.
    """
    if name in fields:
        return fields[name]
    value: object = fields
    for part in name.split("."):
        if isinstance(value, list) and value and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
            value = dict(value)
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def text_fault(text: object) -> str | None:
    """The reason why a value cannot be a document's text; None if it can."""
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
