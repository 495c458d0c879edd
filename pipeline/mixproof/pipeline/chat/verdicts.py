"""Two answers and a verdict, in the forms of published data sets: which answer is the chosen one.

| answers | verdict | data sets |
|---|---|---|
| `response1`, `response2` | `overall_preference`: -3 to 3, positive for the second | HelpSteer3 |
| `response_1`, `response_2` | `preference_strength`: the same | HelpSteer2 |
| `response_0`, `response_1` | `better_response_id`: 0 or 1 | PKU-SafeRLHF |
| `conversation_a`, `conversation_b` | `winner`: `model_a`, `model_b` or `tie` | Chatbot Arena |
| `response_a`, `response_b` | `winner`: the same | Chatbot Arena |
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .messages import fault

NAMES: Mapping[str, int | None] = {
    **dict.fromkeys(("model_a", "a"), 0),
    **dict.fromkeys(("model_b", "b"), 1),
    **dict.fromkeys(("tie", "tie (bothbad)", "both_bad"), None),
}
"""Index of the better answer; None: neither is."""


@dataclass(frozen=True)
class VerdictForm:
    """Names of the fields of two answers and of the verdict on them."""

    answers: tuple[str, str]
    verdict: str
    kind: Literal["sign", "index", "name"]


FORMS = (
    VerdictForm(("response1", "response2"), "overall_preference", "sign"),
    VerdictForm(("response_1", "response_2"), "preference_strength", "sign"),
    VerdictForm(("response_0", "response_1"), "better_response_id", "index"),
    VerdictForm(("conversation_a", "conversation_b"), "winner", "name"),
    VerdictForm(("response_a", "response_b"), "winner", "name"),
)


def with_verdict(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record with `chosen` and `rejected`, if it has two answers and a verdict; else as it is.

    Raises:
        FaultError: for a tie, or a verdict that is not one.
    """
    form = next((form for form in FORMS if all(fields.get(name) is not None for name in form.answers)), None)
    if form is None or fields.get("chosen") is not None or fields.get("rejected") is not None:
        return fields
    verdict = fields.get(form.verdict)
    better = _better(verdict, form)
    if better is None:
        fault(f"tie: {form.verdict} is {verdict!r}")
    answers = [fields[name] for name in form.answers]
    return {**fields, "chosen": answers[better], "rejected": answers[1 - better]}


def _better(verdict: object, form: VerdictForm) -> int | None:
    """Index of the better answer; None if neither is."""
    if form.kind == "name":
        if isinstance(verdict, str) and verdict in NAMES:
            return NAMES[verdict]
    elif isinstance(verdict, int | float) and not isinstance(verdict, bool) and math.isfinite(verdict):
        if form.kind == "sign":
            return None if verdict == 0 else int(verdict > 0)
        if verdict in (0, 1):
            return int(verdict)
    return fault(f"bad_verdict: {form.verdict} is {verdict!r}")
