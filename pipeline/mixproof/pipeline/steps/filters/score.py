"""`score`: bounds on a number in the records, such as a classifier's score or a length."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, model_validator

from mixproof.pipeline.record import field_of
from mixproof.pipeline.steps.document import Document
from mixproof.pipeline.steps.step import Apply, Drop, Number, Options, check_bounds, is_number

VERSION = 2
"""2: decimals are numbers."""


class ScoreOptions(Options):
    """A field and its bounds, both inclusive."""

    field: Annotated[str, Field(description="the record's field, such as `field: edu_score` or `field: meta.score`")]
    min: Number | None = None
    max: Number | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        check_bounds(self.min, self.max)
        return self


def make_score(options: ScoreOptions) -> Apply:
    """Drop records with `score_below`, `score_above`, `no_score` or `score_not_a_number`."""
    low, high = options.min, options.max

    def apply(document: Document) -> str | Drop:
        value = field_of(document.fields, options.field)
        if value is None:
            return Drop("no_score")
        if not is_number(value):
            return Drop("score_not_a_number")
        assert isinstance(value, int | float | Decimal)
        if low is not None and value < low:
            return Drop("score_below")
        return Drop("score_above") if high is not None and value > high else document.text

    return apply
