"""What a filter would decide on a text, as a label: `kept`, or the reason for which it would drop the text."""

from __future__ import annotations

from collections.abc import Callable

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.step import Step
from mixproof.pipeline.record import Raw
from mixproof.pipeline.steps import StepFailedError, apply_steps, edits_texts, make_steps

KEPT = "kept"
_NEED_FIELDS = ("url", "score", "attribute")


def make_verdict(step: Step) -> Callable[[str], str | None]:
    """Make the function that says what a filter would do with a text; None if it raises an error on the text.

    Raises:
        RequestError: for an unknown step or option, a formatter, and a filter that needs more than the text.
    """
    name = str(step.options.get("class", step.name))
    if edits_texts(step):
        raise RequestError(f"step: {name} changes texts, and a label says what a filter decides; use it in `steps`")
    if step.name in _NEED_FIELDS or name == "URLFilter" or step.options.get("field") is not None:
        raise RequestError(f"step: {name} needs other fields of the records; use `{{field: ...}}` as a label instead")
    made = make_steps((step,), "step")

    def verdict(text: str) -> str | None:
        reasons: list[str] = []
        try:
            apply_steps(Raw(0, None, text), text.encode(), made, lambda _name, reason, _text: reasons.append(reason))
        except StepFailedError:
            return None
        return reasons[0] if reasons else KEPT

    return verdict
