"""`metrics.jsonl`: one line per step, without gaps or duplicates, however often a run was resumed.

Lines are written as steps end and are synced to disk before the next checkpoint. A resumed attempt copies the lines up
to its checkpoint into a new file and continues there, so repeated steps replace their earlier lines, and an older
attempt that still has the old file open cannot damage the new one.
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
"""Bytes read from the end to find the last line; a line with a hundred sources takes about 5 KB."""


@dataclass(frozen=True)
class StepMetrics:
    """Metrics of one optimizer step."""

    step: int
    """Steps done, including this one."""
    samples: int
    """Samples consumed, including this step's."""
    tokens: int
    """Samples × sequence length."""
    loss: float
    """Nats per target, mean over the global batch, before the step."""
    lr: float
    """Learning rate of the step."""
    grad_norm: float
    """L2 norm of the gradient before clipping."""
    loss_of: dict[str, float] = field(default_factory=dict)
    """Nats per target by source, for sources with targets in the batch; empty in files of older versions."""
    targets_of: dict[str, int] = field(default_factory=dict)
    """Targets by source: the weights for averaging `loss_of` over steps."""


class MetricsLog:
    """Appends steps to the metrics of a run's folder."""

    def __init__(self, folder: Path, ownership: Ownership, steps_done: int) -> None:
        """Continue after `steps_done` steps and drop any later lines.

        Raises:
            DamagedFileError: when lines of those steps are missing.
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
            SupersededError: when another attempt has taken over the run.
        """
        self._ownership.check()
        self._file.write(json.dumps(asdict(metrics), allow_nan=False).encode() + b"\n")

    def sync(self) -> None:
        """Sync every line to disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync every line to disk and close the file."""
        self.sync()
        self._file.close()


def read_metrics(folder: Path) -> list[StepMetrics]:
    """Read the complete lines of a run, which may still be training."""
    try:
        data = (folder / METRICS).read_bytes()
    except FileNotFoundError:
        return []
    complete = data[: data.rfind(b"\n") + 1]
    return [StepMetrics(**json.loads(line)) for line in complete.splitlines()]


def last_metrics(folder: Path) -> StepMetrics | None:
    """Read only the last complete line of a run; None if there is none yet."""
    path = folder / METRICS
    if not path.is_file():
        return None
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        for length in (TAIL_BYTES, size):
            file.seek(max(0, size - length))
            complete = file.read(min(size, length)).rpartition(b"\n")[0]
            line = complete.rpartition(b"\n")[2]
            if len(line) < len(complete) or length >= size:
                return StepMetrics(**json.loads(line)) if line else None
    return None


def first_lines(path: Path, steps: int) -> bytes:
    """Return the lines of the first `steps` steps.

    Raises:
        DamagedFileError: when a line is missing.
    """
    lines = path.read_bytes().splitlines(keepends=True)[:steps] if path.is_file() else []
    numbers = [json.loads(line)["step"] for line in lines if line.endswith(b"\n")]
    if numbers != list(range(1, steps + 1)):
        raise DamagedFileError(
            str(path),
            f"step {len(numbers) + 1}",
            f"its line is missing, but the checkpoint is at step {steps}; delete the run's folder to train it again",
        )
    return b"".join(lines)
