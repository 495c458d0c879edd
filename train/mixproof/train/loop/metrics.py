"""`metrics.jsonl`: one line a step, without gaps or duplicates, however often a run was resumed.

Lines are written as steps end and are on disk before the checkpoint that follows them. A resumed attempt copies
the lines up to its checkpoint into a new file and goes on there, so steps that are done again replace the lines
of the first time; an older attempt that still holds the old file can do no harm.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.store import publish_bytes
from mixproof.train.ownership import Ownership

METRICS = "metrics.jsonl"
TAIL_BYTES = 16 * 1024
"""Read from the end to find the last line; a line of a hundred sources takes about 5 KB."""


@dataclass(frozen=True)
class StepMetrics:
    """What one step of the optimizer did."""

    step: int
    """Steps done, this one included."""
    samples: int
    """Samples consumed, this step's included."""
    tokens: int
    """Samples × sequence length."""
    loss: float
    """Nats per target, mean over the global batch, before the step."""
    lr: float
    """Learning rate that the step used."""
    grad_norm: float
    """L2 norm of the gradient before clipping."""
    loss_of: dict[str, float] = field(default_factory=dict)
    """Nats per target by source, of every source with targets in the batch; empty in files of older versions."""
    targets_of: dict[str, int] = field(default_factory=dict)
    """Targets behind each of them: the weights with which to average over steps."""


class MetricsLog:
    """Appends steps to the metrics of a run's folder."""

    def __init__(self, folder: Path, ownership: Ownership, steps_done: int) -> None:
        """Go on after `steps_done` steps, dropping any lines beyond.

        Raises:
            DamagedFileError: when the lines of those steps are not there.
        """
        path = folder / METRICS
        kept = first_lines(path, steps_done) if steps_done else b""
        ownership.check()
        publish_bytes(kept, path)
        self._ownership = ownership
        self._file = path.open("ab", buffering=0)

    def append(self, metrics: StepMetrics) -> None:
        """Write one line.

        Raises:
            SupersededError: when another attempt has taken the run over.
        """
        self._ownership.check()
        self._file.write(json.dumps(asdict(metrics), allow_nan=False).encode() + b"\n")

    def sync(self) -> None:
        """Put every line on disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Put every line on disk and close the file."""
        self.sync()
        self._file.close()


def read_metrics(folder: Path) -> list[StepMetrics]:
    """Read the whole lines of a run, also while it is being trained."""
    try:
        data = (folder / METRICS).read_bytes()
    except FileNotFoundError:
        return []
    whole = data[: data.rfind(b"\n") + 1]
    return [StepMetrics(**json.loads(line)) for line in whole.splitlines()]


def last_metrics(folder: Path) -> StepMetrics | None:
    """Read the last whole line of a run without reading the others; None where there is none yet."""
    path = folder / METRICS
    if not path.is_file():
        return None
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        for length in (TAIL_BYTES, size):
            file.seek(max(0, size - length))
            whole = file.read(min(size, length)).rpartition(b"\n")[0]
            line = whole.rpartition(b"\n")[2]
            if len(line) < len(whole) or length >= size:
                return StepMetrics(**json.loads(line)) if line else None
    return None


def first_lines(path: Path, steps: int) -> bytes:
    """The lines of the first `steps` steps.

    Raises:
        DamagedFileError: when they are not there.
    """
    lines = path.read_bytes().splitlines(keepends=True)[:steps] if path.is_file() else []
    numbers = [json.loads(line)["step"] for line in lines if line.endswith(b"\n")]
    if numbers != list(range(1, steps + 1)):
        raise DamagedFileError(
            str(path), f"step {len(numbers) + 1}", f"the checkpoint is at step {steps}; delete the run's folder"
        )
    return b"".join(lines)
