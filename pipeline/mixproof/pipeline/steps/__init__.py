"""Steps: the filters and formatters of a source, applied to one document at a time, in order."""

from .apply import StepFailedError, apply_steps
from .filters.sampler import NOT_SAMPLED
from .registry import edits_texts, make_steps, needs_fields, steps_digest, steps_identity
from .step import Apply, Counted, Drop

__all__ = [
    "NOT_SAMPLED",
    "Apply",
    "Counted",
    "Drop",
    "StepFailedError",
    "apply_steps",
    "edits_texts",
    "make_steps",
    "needs_fields",
    "steps_digest",
    "steps_identity",
]
