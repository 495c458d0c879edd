"""External sets and tasks by content, and the names under which a run's scores on them are stored."""

from __future__ import annotations

from mixproof.ledger.fingerprint import sha256_of
from mixproof.train.record import EVALUATION_PROTOCOL, EXTERNAL, EXTERNAL_VERSION, TRAIN

from .external_sets import ExternalSet
from .external_tasks import TaskFolder

Wanted = ExternalSet | TaskFolder


def scores_name(key: str, wanted: Wanted) -> str:
    """Where in the store the run `key` has what it scored on `wanted`."""
    scores_id = sha256_of({"version": EXTERNAL_VERSION, "protocol": EVALUATION_PROTOCOL, **wanted.identity})
    return f"{TRAIN}/{key}/{EXTERNAL}/{scores_id}.json"
