"""A step: a formatter or filter of a source, or the filter of a label."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from pydantic import Field, field_serializer

from mixproof.mixtures.values.quantities import exact_string
from mixproof.mixtures.values.spec_part import SpecPart


class Step(SpecPart):
    """One formatter or filter: its name and its options, as `length` or `{length: {min_chars: 200}}`.

    `{datatrove: GopherQualityFilter, min_doc_words: 50}` has the name `datatrove` and the class in `options.class`.
    """

    name: str
    options: dict[str, Any] = Field(default={})
    """Options as written; decimals are exact fractions."""

    @field_serializer("options", when_used="json")
    def _exact_options(self, options: dict[str, Any]) -> Any:  # noqa: ANN401  any YAML value
        return _exact(options)


def _exact(value: Any) -> Any:  # noqa: ANN401  any YAML value
    if isinstance(value, Fraction):
        return exact_string(value)
    if isinstance(value, dict):
        return {key: _exact(item) for key, item in value.items()}
    return [_exact(item) for item in value] if isinstance(value, list | tuple) else value
