"""The key `keep` of a source: which documents stay, by the values of their labels."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from mixproof.mixtures.values.quantities import Share, SignedNumber
from mixproof.mixtures.values.spec_part import SpecPart
from mixproof.mixtures.values.whole_numbers import WholeNumber


class KeepRule(SpecPart):
    """One condition on a label; documents that do not meet it are dropped after deduplication."""

    label: str | None = None
    """A label that is a category; needs `is` or `min_documents`."""
    is_: tuple[str, ...] | None = Field(None, min_length=1)
    """The values of documents that stay."""
    min_documents: WholeNumber | None = None
    """Instead of `is`: the values that stay are those of at least so many documents, which earlier rules leave."""
    score: str | None = None
    """A label that is a number, or a confidence such as `language.confidence`; needs a bound."""
    at_least: SignedNumber | None = None
    """Documents with a smaller value are dropped."""
    at_most: SignedNumber | None = None
    """Documents with a larger value are dropped."""
    top: Share | None = None
    """Instead of bounds: share of the documents that stay, those with the largest values. The bound is exact; documents
    with equal values stay together."""
    missing: Literal["drop", "keep", "error"] = "drop"
    """Documents without a value are dropped, stay, or are an error."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.label is None) == (self.score is None):
            raise ValueError("needs exactly one of `label` and `score`")
        bounds = [key for key in ("at_least", "at_most", "top") if getattr(self, key) is not None]
        if self.label is not None:
            if bounds:
                raise ValueError(f"`{bounds[0]}` bounds a number; write `score: {self.label}`")
            if (self.is_ is None) == (self.min_documents is None):
                raise ValueError(
                    f"`label: {self.label}` needs `is`, the values of documents that stay, or `min_documents` alone"
                )
            return self
        if self.is_ is not None or self.min_documents is not None:
            key = "is" if self.is_ is not None else "min_documents"
            raise ValueError(f"`{key}` is about the values of a category; write `label: {self.score}`")
        if not bounds or ("top" in bounds and len(bounds) > 1):
            raise ValueError(f"`score: {self.score}` needs `at_least`, `at_most` or both, or `top` alone")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError("`at_least` is above `at_most`, so no document would stay")
        if self.top == 0:
            raise ValueError("`top: 0%` would keep no document")
        return self

    @property
    def column(self) -> str:
        """Name of the label, or of its confidence."""
        column = self.label if self.label is not None else self.score
        assert column is not None, "a rule has one of both"
        return column
