"""The runs of a ladder from the records of finished runs: sizes, tokens, and every score that a run has.

Scores are named after the source or external set and the metric: `web_bpb` is the bits per byte on held-out `web`,
`piqa_acc` an accuracy and `piqa_bpb` the bits per byte of its correct answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixproof.train.record import RunRecord

from .ladder import LadderRun

BITS = "bits_per_byte"
NOT_SCORES = frozenset({"loss", "tokens", "bytes", "documents", "questions", "lossless"})
"""Entries of a result that are not scores, or repeat its bits per byte."""
External = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By run key, results by name of the external set or task."""


def ladder_runs(records: Sequence[RunRecord], external: External) -> dict[str, list[LadderRun]]:
    """Group finished runs by mixture.

    Parameters are counted without the embedding, because its size follows the vocabulary.

    Args:
        records: finished runs of one spec.
        external: their results on external sets and tasks.
    """
    found: dict[str, list[LadderRun]] = {}
    for record in records:
        unique = sum(min(part.unique_tokens, part.tokens) for part in record.delivered.values())
        scores = {f"{name}_bpb": score.minimized for name, score in record.heldout.items()}
        for name, result in external.get(record.key, {}).items():
            scores |= _scores_of(name, result)
        run = LadderRun(record.parameters.non_embedding, record.consumed_tokens, unique, scores)
        found.setdefault(record.mixture, []).append(run)
    return found


def score_names(runs: Mapping[str, Sequence[LadderRun]]) -> tuple[str, ...]:
    """Names of all scores, in the order of their first run."""
    return tuple(dict.fromkeys(name for own in runs.values() for run in own for name in run.scores))


def _scores_of(name: str, result: Mapping[str, Any]) -> dict[str, float]:
    return {
        f"{name}_bpb" if key == BITS else f"{name}_{key}": float(value)
        for key, value in result.items()
        if key not in NOT_SCORES and "stderr" not in key and isinstance(value, float | int)
    }
