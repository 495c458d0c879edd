"""The form of every step: options that are checked before any work, and a decision on one document at a time."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.errors import RequestError
from mixproof.mixtures.values.quantities import SHARE_FORMS, parse_number

from .document import Document


@dataclass(frozen=True)
class Drop:
    """A step's decision to drop a document."""

    reason: str


Apply = Callable[[Document], str | Drop]
"""Returns the text for the next step, or why the document is dropped."""


class Options(BaseModel):
    """Base class of every step's options: frozen and strict; unknown options are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


AnyOptions = TypeVar("AnyOptions", bound=Options)


def _to_float(value: object) -> object:
    if isinstance(value, Fraction | Decimal):
        return float(value)
    if isinstance(value, str) and value.strip():
        return float(parse_number(value))
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _to_list(value: object) -> object:
    """A single string is read as a list of one."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


_NUMBER_TEXT = {"type": "string", "pattern": r"^-?[0-9.]"}
Number = Annotated[
    float,
    BeforeValidator(_to_float),
    Field(allow_inf_nan=False),
    WithJsonSchema({"anyOf": [{"type": "number"}, _NUMBER_TEXT]}),
]
"""A number in any notation: `0.65`, `65%`, `1/3`, `-5.2`."""
_LIST_OF_STRINGS = {"type": "array", "items": {"type": "string"}}
Strings = Annotated[
    tuple[str, ...],
    BeforeValidator(_to_list),
    WithJsonSchema({"anyOf": [_LIST_OF_STRINGS, {"type": "string"}]}),
]
"""Strings, or a single one."""
Whole = Annotated[int, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1), WithJsonSchema({"anyOf": SHARE_FORMS})]
"""A number from 0 to 1: `0.3`, `30%`."""


def check_order(low: float | None, high: float | None, low_name: str, high_name: str) -> None:
    """Refuse a lower bound above the upper bound.

    Raises:
        ValueError: naming both.
    """
    if low is not None and high is not None and low > high:
        raise ValueError(
            f"{low_name} {low:g} is above {high_name} {high:g}, so every document would be dropped; are they swapped?"
        )


def check_bounds(low: float | None, high: float | None) -> None:
    """Refuse `min` and `max` of a step if both are missing, or in the wrong order.

    Raises:
        ValueError: saying which.
    """
    if low is None and high is None:
        raise ValueError("give `min`, `max` or both")
    check_order(low, high, "min", "max")


def read_options(kind: type[AnyOptions], options: Mapping[str, Any], where: str) -> AnyOptions:
    """Check a step's options.

    Raises:
        RequestError: naming the key, what is wrong, and the known options.
    """
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            key = ".".join([where, *map(str, problem["loc"])])
            if problem["type"] == "extra_forbidden":
                wrong, known = str(problem["loc"][-1]), list(kind.model_fields)
                lines.append(f"{where}: unknown option {wrong!r}{meant(wrong, known)}; known are {', '.join(known)}")
            elif problem["type"] == "missing":
                lines.append(f"{key} is required: {kind.model_fields[str(problem['loc'][0])].description or ''}")
            elif problem["loc"] and problem["type"] == "value_error":  # a sentence of a step's own
                lines.append(f"{key}: {_shown(problem['input'])}: {_message(problem['msg'])}")
            elif problem["loc"]:
                lines.append(f"{key}: {_message(problem['msg'])}, not {_shown(problem['input'])}")
            else:  # about several options, which the message names
                lines.append(f"{key}: {_message(problem['msg'])}")
        raise RequestError("\n".join(lines)) from None


def _message(message: str) -> str:
    message = message.removeprefix("Value error, ").replace("a valid tuple", "a list")
    return message[:1].lower() + message[1:]


def _shown(value: object) -> str:
    return f"{float(value):g}" if isinstance(value, Fraction | Decimal) else repr(value)


def meant(wrong: str, known: Iterable[str]) -> str:
    """Suggest the known name most similar to a wrong one; empty if none is similar."""
    near = difflib.get_close_matches(wrong, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


@dataclass
class Counted:
    """A step and its counts so far."""

    name: str
    apply: Apply
    documents_in: int = 0
    bytes_in: int = 0
    documents_out: int = 0
    bytes_out: int = 0
    bytes_added: int = 0
    bytes_removed: int = 0
    dropped: dict[str, Count] = field(default_factory=dict)
    replaced: Counter[str] = field(default_factory=Counter)

    def row(self) -> StageRow:
        """The step's row of the account."""
        return StageRow(
            stage=self.name,
            documents_in=self.documents_in,
            documents_out=self.documents_out,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            bytes_added=self.bytes_added,
            bytes_removed=self.bytes_removed,
            dropped=dict(sorted(self.dropped.items())),
            replaced=dict(sorted(self.replaced.items())),
        )

    def replace(self, replaced: Mapping[str, int]) -> None:
        """Count what was replaced in a document that is kept."""
        self.replaced.update(replaced)

    def drop(self, reason: str, text_bytes: int) -> None:
        """Count a dropped document."""
        dropped = Count(documents=1, bytes=text_bytes)
        known = self.dropped.get(reason)
        self.dropped[reason] = dropped if known is None else known + dropped


def is_number(value: object) -> bool:
    """Whether a field's value is a number that can be compared."""
    if isinstance(value, float):
        return not math.isnan(value)
    return isinstance(value, int | Decimal) and not isinstance(value, bool)
