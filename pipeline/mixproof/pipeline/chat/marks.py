"""What is known of a rendered conversation beside its text: spans, answers, ratings. One JSON text per document.

Offsets are characters of the document's text. The text of a pair is the rendering of the chosen conversation followed
by that of the rejected one; `cut` is where the second starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from .template import Spans


@dataclass(frozen=True)
class Marks:
    """The marks of one document."""

    supervised: Spans
    """What a model is trained to predict."""
    contents: Spans
    """What comes from the contents of messages."""
    cut: int | None = None
    """Of a pair: the first character of the rejected conversation."""
    ratings: tuple[float | None, ...] = ()
    """Of a pair: the ratings of the chosen and the rejected answer."""
    margin: float | None = None
    attributes: Mapping[str, float] = field(default_factory=dict)
    """Of a rated answer."""

    def to_json(self) -> bytes:
        """The marks as JSON; empty ones are left out."""
        form: dict[str, Any] = {"supervised": _flat(self.supervised), "contents": _flat(self.contents)}
        if self.cut is not None:
            form["cut"] = self.cut
        if any(rating is not None for rating in self.ratings):
            form["ratings"] = self.ratings
        if self.margin is not None:
            form["margin"] = self.margin
        if self.attributes:
            form["attributes"] = dict(self.attributes)
        return orjson.dumps(form, option=orjson.OPT_SORT_KEYS)

    @classmethod
    def from_json(cls, data: str | bytes) -> Marks:
        """Read the marks of a document."""
        form = orjson.loads(data)
        return cls(
            _pairs(form["supervised"]),
            _pairs(form["contents"]),
            form.get("cut"),
            tuple(form.get("ratings", ())),
            form.get("margin"),
            form.get("attributes", {}),
        )

    def conversations(self, text: str) -> list[tuple[str, Spans, Spans]]:
        """Each conversation of a document: its text, and its supervised and its content spans."""
        if self.cut is None:
            return [(text, self.supervised, self.contents)]
        cut = self.cut
        first = tuple(tuple(span for span in spans if span[0] < cut) for spans in (self.supervised, self.contents))
        second = tuple(
            tuple((start - cut, end - cut) for start, end in spans if start >= cut)
            for spans in (self.supervised, self.contents)
        )
        return [(text[:cut], *first), (text[cut:], *second)]  # type: ignore[list-item]  # of two each


def _flat(spans: Spans) -> list[int]:
    return [offset for span in spans for offset in span]


def _pairs(offsets: list[int]) -> Spans:
    return tuple(zip(offsets[::2], offsets[1::2], strict=True))
