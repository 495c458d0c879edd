"""`length`: keeps documents within a range of lengths in characters."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from mixproof.pipeline.steps.document import Document
from mixproof.pipeline.steps.step import Apply, Drop, Options, Whole, check_order

VERSION = 1


class LengthOptions(Options):
    """Bounds in characters, both inclusive."""

    min_chars: Whole = 0
    max_chars: Whole | None = None

    @model_validator(mode="after")
    def _leave_something(self) -> Self:
        if self.max_chars == 0:
            raise ValueError("max_chars 0 would drop every document; leave it out for no bound")
        check_order(self.min_chars, self.max_chars, "min_chars", "max_chars")
        return self


def make_length(options: LengthOptions) -> Apply:
    """Drop documents that are `too_short` or `too_long`."""
    least, most = options.min_chars, options.max_chars

    def apply(document: Document) -> str | Drop:
        if len(document.text) < least:
            return Drop("too_short")
        return Drop("too_long") if most is not None and len(document.text) > most else document.text

    return apply
