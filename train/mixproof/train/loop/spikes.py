"""Loss spikes: which steps stand out from those before them, and when a run is lost.

A step spikes when its loss lies above the median of the last 32 steps that did not, by more than half a nat and more
than eight times their spread (1.4826 × the median distance from the median, which is the standard deviation of normal
losses). A single spike is a bad batch, or a step too far that the optimizer makes good: it is recorded and the run goes
on. Sixteen in a row are no batch any more: the run has diverged. The first 16 steps are not judged, nor are the first
16 of a phase, whose sources may be harder than those before.

Everything follows from the losses alone, so that a resumed run judges as an undisturbed one: it is fed the lines of its
metrics again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from statistics import median

from .metrics import StepMetrics

WINDOW = 32
"""Steps that a loss is compared with."""
LEAST = 16
"""Steps that must be there to compare with."""
SPREADS = 8.0
LEAST_NATS = 0.5
DIVERGED = 16
"""Spikes in a row that end a run."""
NORMAL = 1.4826


@dataclass(frozen=True)
class Spike:
    """A step whose loss stands out."""

    step: int
    loss: float
    """Nats per target."""
    grad_norm: float
    limit: float
    """The loss above which the step counts as a spike."""


class SpikeWatch:
    """Judges the steps of a run in their order."""

    def __init__(self, phase_starts: Collection[int] = ()) -> None:
        """Start before the first step; `phase_starts` are the steps, from 1, with which phases begin."""
        self._phase_starts = frozenset(phase_starts)
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self.in_a_row = 0
        """Spikes since the last step that was none."""

    @property
    def diverged(self) -> bool:
        """Whether the loss has not come back."""
        return self.in_a_row >= DIVERGED

    def see(self, metrics: StepMetrics) -> Spike | None:
        """Judge the next step."""
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
        if len(self._losses) < LEAST:
            return None
        middle = median(self._losses)
        spread = NORMAL * median(abs(loss - middle) for loss in self._losses)
        return middle + max(LEAST_NATS, SPREADS * spread)


def find_spikes(steps: Iterable[StepMetrics], phase_starts: Collection[int] = ()) -> list[Spike]:
    """Every spike of a run."""
    watch = SpikeWatch(phase_starts)
    return [spike for metrics in steps if (spike := watch.see(metrics)) is not None]
