"""What the first rank writes down of every step: the metrics, how fast it went, and the curves of TensorBoard."""

from __future__ import annotations

from .distributed import Ranks
from .metrics import MetricsLog, StepMetrics
from .ownership import Ownership
from .request import RunRequest
from .tensorboard import Curves
from .throughput import Pace


class Journal:
    """One attempt's files."""

    def __init__(self, request: RunRequest, ranks: Ranks, ownership: Ownership, consumed_samples: int) -> None:
        """Go on where `consumed_samples` had been trained on.

        Raises:
            DamagedFileError: when the metrics of the steps until then are not there.
        """
        steps_done = consumed_samples // request.budget.global_batch_size
        self._log = MetricsLog(ownership.folder, ownership, steps_done)
        self._pace = Pace(request, ranks, ownership, consumed_samples)
        self._curves = Curves(ownership.folder, steps_done)

    def append(self, metrics: StepMetrics) -> None:
        """Write a step down.

        Raises:
            SupersededError: when another attempt has taken the run over.
        """
        self._log.append(metrics)
        self._curves.add(metrics, self._pace.step(metrics))

    def sync(self) -> None:
        """Put every line of the metrics on disk."""
        self._log.sync()

    def close(self) -> None:
        """Put everything on disk and close the files."""
        self._log.close()
        self._curves.close()
