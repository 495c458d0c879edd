"""The value that a step compared with a threshold, found with the step itself.

A step says only which rule dropped a document. Its decision changes at one value of the rule's option: that is the
value that the rule measured, and bisection finds it, for every filter in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mixproof.ledger.errors import MixproofError
from mixproof.mixtures.blocks.source import Step
from mixproof.pipeline.record import Raw

from .deciding import option_of
from .document import Document
from .registry import KINDS, Kind
from .segmentation.words import NoWordsError
from .step import Drop

LONGEST_TEXT = 100_000
"""Characters; the value of a longer text is not looked for."""
DOUBLINGS = 24
HALVINGS = 20
"""Enough for six digits."""
_MINIMA = ("line_punct_thr", "max_non_alpha_words_ratio")
"""Options that are lower bounds although their names do not begin with `min`."""


def option_value(step: Step, option: str) -> Any:  # noqa: ANN401  of any type that an option has
    """The value of a step's option, its default if the spec does not set it; None if there is no such option."""
    kind = KINDS.get(step.name)
    if kind is None:
        return step.options.get(option)
    return getattr(kind.options.model_validate(dict(step.options)), option, None)


def measured_value(step: Step, reason: str, text: str) -> float | None:
    """The value for which a step dropped a text; None if it cannot be found.

    It cannot be found where the option is not a single number, where the decision depends on more than the text, and
    where a package that the step needs is not installed.
    """
    kind, option = KINDS.get(step.name), option_of(step.name, reason)
    if kind is None or option is None or len(text) > LONGEST_TEXT:
        return None
    limit = option_value(step, option)
    if isinstance(limit, bool) or not isinstance(limit, int | float) or limit <= 0:
        return None
    limit = limit if _is_whole(kind, option) else float(limit)
    try:
        fails = _decision(kind, step, option, reason, text)
        if not fails(limit):
            return None
        return _below(fails, limit) if option.startswith("min") or option in _MINIMA else _above(fails, limit)
    except (ImportError, MixproofError, NoWordsError):
        return None


def _decision(kind: Kind, step: Step, option: str, reason: str, text: str) -> Callable[[float], bool]:
    """Whether the rule drops the text for a given value of its option."""
    document = Document(Raw(record=0, id=None, text=text))

    def fails(value: float) -> bool:
        options = kind.options.model_validate({**step.options, option: value})
        result = kind.make(options)(document)
        return isinstance(result, Drop) and result.reason == reason

    return fails


def _is_whole(kind: Kind, option: str) -> bool:
    """Whether an option takes integers only; the default of one that takes any number may be an integer."""
    form = kind.options.model_json_schema()["properties"][option]
    return "integer" in [part.get("type") for part in (form, *form.get("anyOf", ()))]


def _below(fails: Callable[[float], bool], limit: float) -> float:
    """The largest value that the text reaches, below a lower bound that it does not reach."""
    return _boundary(lambda value: not fails(value), 0, limit)[0]


def _above(fails: Callable[[float], bool], limit: float) -> float | None:
    """The smallest value that the text does not exceed, above an upper bound that it exceeds; None if there is none."""
    high = limit
    for _ in range(DOUBLINGS):
        low, high = high, 2 * high
        if isinstance(limit, float) and limit <= 1:
            high = min(1.0, high)
        if not fails(high):
            return _boundary(fails, low, high)[1]
    return None


def _boundary(is_low: Callable[[float], bool], low: float, high: float) -> tuple[float, float]:
    """Narrow an interval in which `is_low` changes from true to false: neighbours if both ends are integers."""
    whole = isinstance(low, int) and isinstance(high, int)
    for _ in range(HALVINGS if not whole else 64):
        if whole and high - low <= 1:
            break
        middle = (low + high) // 2 if whole else (low + high) / 2
        low, high = (middle, high) if is_low(middle) else (low, middle)
    return low, high
