"""`evaluations.jsonl`: the held-out scores of a run during training, one line per evaluation.

Written if the spec sets `evaluate_every`, also at the end of the run. A line is written before the checkpoint of the
same step. An attempt that resumes from a checkpoint keeps the lines up to it and writes the others again, so a killed
run ends with the same file as an uninterrupted one.
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
    """Nats per token, including EODs, by held-out set."""
    bits_per_byte: dict[str, float]
    """By held-out set; none for a reward model."""


def evaluation_of(samples: int, sequence_length: int, scores: Sequence[Scores]) -> Evaluation:
    """Make the line for the scores of all held-out sets."""
    return Evaluation(
        samples=samples,
        tokens=samples * sequence_length,
        loss={score.documents.source: score.loss for score in scores},
        bits_per_byte={
            score.documents.source: score.bits_per_byte for score in scores if score.bits_per_byte is not None
        },
    )


def read_evaluations(folder: Path) -> list[Evaluation]:
    """Read the complete lines of a run, which may still be training; none if the spec sets no `evaluate_every`."""
    path = folder / EVALUATIONS
    data = path.read_bytes() if path.is_file() else b""
    return [Evaluation(**json.loads(line)) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def add_evaluation(ownership: Ownership, evaluation: Evaluation) -> None:
    """Append a line after those with fewer samples, and drop all others.

    The file is small and replaced as a whole, so an older attempt cannot damage it.

    Raises:
        SupersededError: when another attempt has taken over the run.
    """
    kept = [line for line in read_evaluations(ownership.folder) if line.samples < evaluation.samples]
    ownership.check()
    _write(ownership.folder, [*kept, evaluation])


def copy_evaluations(trunk: Path, samples: int, folder: Path) -> None:
    """Copy the lines up to `samples` of the run in `trunk`, if it has any, to the run in `folder`."""
    if kept := [line for line in read_evaluations(trunk) if line.samples <= samples]:
        _write(folder, kept)


def _write(folder: Path, evaluations: Sequence[Evaluation]) -> None:
    lines = [json.dumps(asdict(evaluation), allow_nan=False) for evaluation in evaluations]
    publish_bytes("".join(f"{line}\n" for line in lines).encode(), folder / EVALUATIONS)
