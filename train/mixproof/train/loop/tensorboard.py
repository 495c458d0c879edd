"""A run's curves for TensorBoard: `tensorboard --logdir STORE/train` shows all runs of a store.

Written beside the metrics from the same numbers, and in no checksum, because event files contain times and paths. An
attempt that resumes from a checkpoint writes a new file that purges the steps it repeats.
"""

from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from .curves import points_of
from .metrics import StepMetrics
from .throughput import Throughput

TENSORBOARD = "tensorboard"
FLUSH_SECONDS = 30


class TensorBoardCurves:
    """Writes the curves of one attempt."""

    def __init__(self, folder: Path, steps_done: int) -> None:
        """Continue after `steps_done` steps; `folder` is the run's."""
        self._writer = SummaryWriter(str(folder / TENSORBOARD), purge_step=steps_done + 1, flush_secs=FLUSH_SECONDS)

    def add(self, metrics: StepMetrics, throughput: Throughput | None) -> None:
        """Add the points of a step."""
        for name, value in points_of(metrics, throughput).items():
            self._writer.add_scalar(name, value, metrics.step)

    def close(self) -> None:
        """Write every point to disk."""
        self._writer.close()
