"""`evaluations.jsonl`: the held-out scores of a run while it trains, one line an evaluation.

Written where the spec asks for it with `evaluate_every`, and at the end of such a run. A line is there before the
checkpoint of the same step; an attempt that goes on from a checkpoint keeps the lines up to it and writes the others
again, so that the file of a killed run is that of an undisturbed one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mixproof.ledger.store import publish_bytes
from mixproof.train.evaluate.evaluate import Scores
from mixproof.train.ownership import Ownership

EVALUATIONS = "evaluations.jsonl"


@dataclass(frozen=True)
class Evaluation:
    """The scores after a number of steps."""

    samples: int
    """Samples consumed."""
    tokens: int
    """Samples × sequence length."""
    loss: dict[str, float]
    """Nats per token by held-out set, EODs included."""
    bits_per_byte: dict[str, float]
    """By held-out set."""


def evaluation_of(samples: int, sequence_length: int, scores: Sequence[Scores]) -> Evaluation:
    """What a line says of the scores of all held-out sets."""
    return Evaluation(
        samples=samples,
        tokens=samples * sequence_length,
        loss={score.documents.source: score.loss for score in scores},
        bits_per_byte={score.documents.source: score.bits_per_byte for score in scores},
    )


def read_evaluations(folder: Path) -> list[Evaluation]:
    """Read the whole lines of a run, also while it is being trained; none where it was not asked for."""
    path = folder / EVALUATIONS
    data = path.read_bytes() if path.is_file() else b""
    return [Evaluation(**json.loads(line)) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def add_evaluation(ownership: Ownership, evaluation: Evaluation) -> None:
    """Put a line behind those of fewer samples, and drop any others.

    The file is small and written anew, so that an older attempt can do no harm.

    Raises:
        SupersededError: when another attempt has taken the run over.
    """
    kept = [line for line in read_evaluations(ownership.folder) if line.samples < evaluation.samples]
    ownership.check()
    _write(ownership.folder, [*kept, evaluation])


def take_over_evaluations(trunk: Path, samples: int, folder: Path) -> None:
    """Give the run in `folder` the scores, up to `samples`, of the run in `trunk`, where it has any."""
    if kept := [line for line in read_evaluations(trunk) if line.samples <= samples]:
        _write(folder, kept)


def _write(folder: Path, evaluations: Sequence[Evaluation]) -> None:
    lines = [json.dumps(asdict(evaluation), allow_nan=False) for evaluation in evaluations]
    publish_bytes("".join(f"{line}\n" for line in lines).encode(), folder / EVALUATIONS)
