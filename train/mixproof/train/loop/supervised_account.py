"""The account of a run after pretraining: tokens = supervised + context + padding per source, as planned (E9)."""

from __future__ import annotations

from collections.abc import Mapping

from mixproof.ledger.errors import AccountError
from mixproof.train.data.saved_stream import Delivered
from mixproof.train.request import RunRequest
from mixproof.train.stage_record import PostTraining


def planned_tokens(request: RunRequest, source: str) -> int:
    """Return the planned tokens of a source: positions, and after pretraining supervised tokens."""
    if request.post_training is not None:
        return request.post_training.planned[source].supervised_tokens
    return request.budget.tokens_of[source]


def supervised_counts(consumed: Delivered) -> dict[str, int]:
    """Return what the windows read of a source held: supervised tokens, context, padding and conversations."""
    assert consumed.read_tokens is not None and consumed.examples is not None, "the index has a mask"
    return {
        "supervised_tokens": consumed.targets,
        "context_tokens": consumed.read_tokens - consumed.targets,
        "padding_tokens": consumed.tokens - consumed.read_tokens,
        "examples": consumed.examples,
    }


def check_planned(plan: PostTraining, replayed: Mapping[str, Delivered], *, unit: str) -> None:
    """Check that a finished run read exactly what was planned of every source.

    Raises:
        AccountError: when a count differs (E9).
    """
    for source, planned in plan.planned.items():
        expected, found = planned.model_dump(), supervised_counts(replayed[source])
        if found != expected:
            raise AccountError("E9", expected, found, source=source, stage="train", unit=unit)
