"""Run a document through the steps of its source and count every byte."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mixproof.ledger.errors import MixproofError, RequestError
from mixproof.pipeline.record import Raw

from .document import Document
from .step import Counted, Drop

OnDrop = Callable[[str, str, bytes], None]
"""Called for each dropped document with the step's name, the reason, and the text before that step."""

_NOT_THE_DOCUMENTS = (MixproofError, MemoryError, OSError, ImportError)
"""Errors that are caused by the machine or the spec, not by the document."""


class StepFailedError(Exception):
    """A step raised an error on one document."""


def apply_steps(raw: Raw, data: bytes, steps: Sequence[Counted], on_drop: OnDrop | None = None) -> bytes | None:
    """Run a document through the steps; return the resulting text as UTF-8, or None if a step drops it.

    Args:
        raw: the document.
        data: its text as UTF-8.
        steps: in order; their counts are updated.
        on_drop: called if a step drops the document.

    Raises:
        StepFailedError: when a step raises an error on it.
        RequestError: when a step changes the text of a conversation.
    """
    if not steps:
        return data  # no string is made
    document = Document(raw)
    for step in steps:
        step.documents_in += 1
        step.bytes_in += len(data)
        try:
            result = step.apply(document)
        except _NOT_THE_DOCUMENTS:
            raise
        except Exception as error:
            raise StepFailedError(f"{step.name} raised {type(error).__name__}: {error}") from error
        if not isinstance(result, Drop) and result is not document.text and result != document.text:
            if raw.marks is not None:
                raise RequestError(
                    f"the step {step.name} changed the text of a conversation, whose supervised spans would no longer "
                    "fit it; use steps that only keep or drop, and clean conversations before the build"
                )
            try:
                changed = result.encode()
            except UnicodeEncodeError:
                result = Drop("lone_surrogate")
            else:
                step.bytes_added += max(0, len(changed) - len(data))
                step.bytes_removed += max(0, len(data) - len(changed))
                document.replace_text(result)
                data = changed
        if isinstance(result, Drop):
            step.drop(result.reason, len(data))
            if on_drop is not None:
                on_drop(step.name, result.reason, data)
            return None
        if document.replaced:
            step.replace(document.replaced)
            document.replaced = {}
        step.documents_out += 1
        step.bytes_out += len(data)
    return data
