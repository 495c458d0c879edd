"""Documents through the steps of their source, one at a time, every byte counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mixproof.ledger.errors import MixproofError
from mixproof.pipeline.record import Raw

from .document import Document
from .step import Counted, Drop

Gone = Callable[[str, str, bytes], None]
"""Told of each document that goes: the step's name, the reason, its text as it was before that step."""

_NOT_THE_DOCUMENTS = (MixproofError, MemoryError, OSError, ImportError)
"""What a step may raise that is the machine's fault, or the spec's."""


class StepFailedError(Exception):
    """A step raised an error on a document, which says nothing against its neighbours."""


def apply_steps(raw: Raw, data: bytes, steps: Sequence[Counted], gone: Gone | None = None) -> bytes | None:
    """Run a document (`data`: its text's UTF-8) through the steps; the text that is left, or None if dropped.

    Raises:
        StepFailedError: when a step raises an error on it.
    """
    if not steps:
        return data  # and the text need not be made
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
            if gone is not None:
                gone(step.name, result.reason, data)
            return None
        step.documents_out += 1
        step.bytes_out += len(data)
    return data
