"""Where a run's scores on an external set or task folder are stored: named by content, not by name."""

from __future__ import annotations

from mixproof.ledger.fingerprint import sha256_of
from mixproof.train.record import EVALUATION_PROTOCOL, EXTERNAL, EXTERNAL_VERSION, TRAIN

from .external_sets import ExternalSet
from .external_tasks import TaskFolder
from .question_sets import QuestionSet

Benchmark = ExternalSet | QuestionSet | TaskFolder


def result_path(key: str, benchmark: Benchmark) -> str:
    """Path in the store of the result of run `key` on `benchmark`."""
    result_id = sha256_of({"version": EXTERNAL_VERSION, "protocol": EVALUATION_PROTOCOL, **benchmark.identity})
    return f"{TRAIN}/{key}/{EXTERNAL}/{result_id}.json"
