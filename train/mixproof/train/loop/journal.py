"""What rank 0 records of every step: metrics, throughput and curves."""

from __future__ import annotations

from mixproof.train.distributed import Ranks
from mixproof.train.ownership import Ownership
from mixproof.train.request import RunRequest

from .metrics import MetricsLog, StepMetrics
from .tensorboard import TensorBoardCurves
from .throughput import ThroughputLog
from .weights_and_biases import WandbCurves


class Journal:
    """The metrics, throughput and curves of one attempt."""

    def __init__(self, request: RunRequest, ranks: Ranks, ownership: Ownership, consumed_samples: int) -> None:
        """Continue after `consumed_samples`.

        Raises:
            DamagedFileError: when the metrics of earlier steps are missing.
            RequestError: when Weights & Biases is requested and not available.
        """
        steps_done = consumed_samples // request.budget.global_batch_size
        self._curves: list[TensorBoardCurves | WandbCurves] = [TensorBoardCurves(ownership.folder, steps_done)]
        if request.wandb is not None:
            self._curves.append(WandbCurves(request, ownership.folder))
        self._log = MetricsLog(ownership.folder, ownership, steps_done)
        self._throughput = ThroughputLog(request, ranks, ownership, consumed_samples)

    def append(self, metrics: StepMetrics) -> None:
        """Record a step.

        Raises:
            SupersededError: when another attempt has taken over the run.
        """
        self._log.append(metrics)
        throughput = self._throughput.step(metrics)
        for curves in self._curves:
            curves.add(metrics, throughput)

    def sync(self) -> None:
        """Sync the metrics to disk."""
        self._log.sync()

    def close(self) -> None:
        """Sync everything to disk and close the files."""
        self._log.close()
        for curves in self._curves:
            curves.close()
