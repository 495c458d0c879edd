"""What the first rank writes down of every step: the metrics, how fast it went, and the curves for people."""

from __future__ import annotations

from mixproof.train.distributed import Ranks
from mixproof.train.ownership import Ownership
from mixproof.train.request import RunRequest

from .metrics import MetricsLog, StepMetrics
from .tensorboard import Curves
from .throughput import Pace
from .weights_and_biases import WandbCurves


class Journal:
    """One attempt's files."""

    def __init__(self, request: RunRequest, ranks: Ranks, ownership: Ownership, consumed_samples: int) -> None:
        """Go on where `consumed_samples` had been trained on.

        Raises:
            DamagedFileError: when the metrics of the steps until then are not there.
            RequestError: when Weights & Biases is asked for and cannot be had.
        """
        steps_done = consumed_samples // request.budget.global_batch_size
        self._curves: list[Curves | WandbCurves] = [Curves(ownership.folder, steps_done)]
        if request.wandb is not None:
            self._curves.append(WandbCurves(request, ownership.folder))
        self._log = MetricsLog(ownership.folder, ownership, steps_done)
        self._pace = Pace(request, ranks, ownership, consumed_samples)

    def append(self, metrics: StepMetrics) -> None:
        """Write a step down.

        Raises:
            SupersededError: when another attempt has taken the run over.
        """
        self._log.append(metrics)
        throughput = self._pace.step(metrics)
        for curves in self._curves:
            curves.add(metrics, throughput)

    def sync(self) -> None:
        """Put every line of the metrics on disk."""
        self._log.sync()

    def close(self) -> None:
        """Put everything on disk and close the files."""
        self._log.close()
        for curves in self._curves:
            curves.close()
