"""Documents through the steps of their source, one at a time, every byte counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mixproof.pipeline.readers.record import Raw

from .document import Document
from .step import Counted, Drop

Gone = Callable[[str, str, bytes], None]
"""Told of each document that goes: the step's name, the reason, its text as it was before that step."""


def apply_steps(raw: Raw, data: bytes, steps: Sequence[Counted], gone: Gone | None = None) -> bytes | None:
    """Run a document (`data`: its text's UTF-8) through the steps; the text that is left, or None if dropped."""
    if not steps:
        return data  # and the text need not be made
    document = Document(raw)
    for step in steps:
        step.documents_in += 1
        step.bytes_in += len(data)
        result = step.apply(document)
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
