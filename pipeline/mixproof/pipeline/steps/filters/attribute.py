"""`attribute`: bounds on what a tagger of Dolma found in a document: `[[start, end, score], ...]` by attribute.

An attribute of the whole document has one span; others have any number, also none. A document without a span has the
count and sum 0 and no other value: it is not above any `max`, and below every `min`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from mixproof.pipeline.record import field_of
from mixproof.pipeline.steps.document import Document
from mixproof.pipeline.steps.step import Apply, Drop, Number, Options, check_bounds, is_number

VERSION = 1
ValueOf = Literal["first", "max", "min", "sum", "count"]
_VALUES: Mapping[ValueOf, Callable[[Sequence[float]], float]] = {
    "first": lambda scores: scores[0],
    "max": max,
    "min": min,
    "sum": sum,
    "count": len,
}


class AttributeOptions(Options):
    """An attribute and its bounds, both inclusive."""

    name: Annotated[str, Field(description="name of the attribute, such as `name: pii_v1__pii_v1__doc_frac`")]
    of: ValueOf = "first"
    """What is bounded: the first span's score, the largest, the smallest, their sum, or the number of spans."""
    min: Number | None = None
    max: Number | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        check_bounds(self.min, self.max)
        return self


def make_attribute(options: AttributeOptions) -> Apply:
    """Drop documents with `attribute_below`, `attribute_above`, `no_attribute` or `attribute_without_spans`."""
    low, high, of = options.min, options.max, options.of

    def apply(document: Document) -> str | Drop:
        attributes = field_of(document.fields, "attributes")
        spans = attributes.get(options.name) if isinstance(attributes, Mapping) else None
        if spans is None:
            return Drop("no_attribute")
        scores = _scores(spans)
        if scores is None:
            return Drop("attribute_without_spans")
        if not scores and of not in ("sum", "count"):
            return document.text if low is None else Drop("attribute_below")
        value = _VALUES[of](scores)
        if low is not None and value < low:
            return Drop("attribute_below")
        return Drop("attribute_above") if high is not None and value > high else document.text

    return apply


def _scores(spans: Any) -> list[float] | None:  # noqa: ANN401  any JSON
    """Return the score of each span; None if it is not a list of `[start, end, score]`."""
    if not isinstance(spans, list):
        return None
    is_span = all(isinstance(span, list) and len(span) == 3 and is_number(span[2]) for span in spans)
    return [span[2] for span in spans] if is_span else None
