"""Loss spikes: detect steps with an unusually high loss, and runs that have diverged.

A step spikes if its loss exceeds the median of the last 32 steps without a spike by more than half a nat and more than
eight times their spread (1.4826 × the median absolute deviation, which estimates the standard deviation of normally
distributed losses). A single spike is a bad batch, or a step that the optimizer recovers from: it is recorded and the
run continues. Sixteen spikes in a row mean that the run has diverged. The first 16 steps of the run and of each phase,
whose sources may be harder than the previous ones, are not judged.

The judgment depends only on the losses, so a resumed run judges like an uninterrupted one: it replays its metrics.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from statistics import median

from .metrics import StepMetrics

WINDOW = 32
"""Steps that a loss is compared with."""
MIN_STEPS = 16
"""Steps needed before a loss is judged."""
MIN_SPREADS = 8.0
MIN_NATS = 0.5
DIVERGED = 16
"""Spikes in a row that end a run."""
NORMAL = 1.4826
"""Standard deviation over median absolute deviation of a normal distribution."""


@dataclass(frozen=True)
class Spike:
    """A step with an unusually high loss."""

    step: int
    loss: float
    """Nats per target."""
    grad_norm: float
    limit: float
    """Losses above this count as spikes."""


class SpikeWatch:
    """Judges the steps of a run in order."""

    def __init__(self, phase_starts: Collection[int] = ()) -> None:
        """Start before the first step; `phase_starts` are the first steps of the phases, from 1."""
        self._phase_starts = frozenset(phase_starts)
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self.in_a_row = 0
        """Spikes since the last step without one."""

    @property
    def diverged(self) -> bool:
        """Whether the loss has stayed high for `DIVERGED` steps."""
        return self.in_a_row >= DIVERGED

    def add(self, metrics: StepMetrics) -> Spike | None:
        """Judge the next step; return it if it is a spike."""
        if metrics.step in self._phase_starts:
            self._losses.clear()
            self.in_a_row = 0
        limit = self._limit()
        if limit is None or metrics.loss <= limit:
            self._losses.append(metrics.loss)
            self.in_a_row = 0
            return None
        self.in_a_row += 1
        return Spike(metrics.step, metrics.loss, metrics.grad_norm, limit)

    def _limit(self) -> float | None:
        if len(self._losses) < MIN_STEPS:
            return None
        middle = median(self._losses)
        spread = NORMAL * median(abs(loss - middle) for loss in self._losses)
        return middle + max(MIN_NATS, MIN_SPREADS * spread)


def find_spikes(steps: Iterable[StepMetrics], phase_starts: Collection[int] = ()) -> list[Spike]:
    """Find all spikes of a run."""
    watch = SpikeWatch(phase_starts)
    return [spike for metrics in steps if (spike := watch.add(metrics)) is not None]
