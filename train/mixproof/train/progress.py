"""What runs are doing while they train: read from their metrics, so that no message has to leave a worker.

A thread in the command looks at the metrics file of every run once a second. Speed is that of the last looks, not
of the whole run: a resumed run does not start with the average of its past.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from mixproof.ledger.store import Store

from .metrics import StepMetrics, read_metrics
from .record import run_folder
from .request import RunRequest

SECONDS_BETWEEN_LOOKS = 1.0
LOOKS_OF_SPEED = 30


@dataclass(frozen=True)
class RunProgress:
    """Where one run is."""

    name: str
    """Mixture, proxy and seed."""
    step: int
    steps: int
    loss: float
    """Nats per target in the last step."""
    tokens_per_second: float | None
    """None until two looks saw it move."""
    seconds_left: float | None
    """Of training, without evaluation."""


class Watch:
    """Follows one run."""

    def __init__(self, request: RunRequest) -> None:
        self._request = request
        self._folder = run_folder(Store(request.store), request.key)
        self._looks: deque[tuple[float, int]] = deque(maxlen=LOOKS_OF_SPEED)

    def look(self, now: float) -> RunProgress | None:
        """Where the run is at time `now` in seconds; None where it has not moved since the last look."""
        metrics = read_metrics(self._folder)
        if not metrics or (self._looks and self._looks[-1][1] == metrics[-1].tokens):
            return None
        if self._looks and metrics[-1].tokens < self._looks[-1][1]:
            self._looks.clear()  # it went back to its checkpoint
        self._looks.append((now, metrics[-1].tokens))
        return self._progress(metrics[-1])

    def _progress(self, last: StepMetrics) -> RunProgress:
        budget = self._request.budget
        (start, before), (end, after) = self._looks[0], self._looks[-1]
        speed = (after - before) / (end - start) if end > start else None
        left = budget.tokens_planned - last.tokens
        return RunProgress(
            name=self._request.name,
            step=last.step,
            steps=budget.steps,
            loss=last.loss,
            tokens_per_second=speed,
            seconds_left=left / speed if speed else None,
        )


@contextmanager
def watching(requests: Sequence[RunRequest], on_progress: Callable[[RunProgress], None] | None) -> Iterator[None]:
    """Call `on_progress` for every run that moved, about once a second, while the block runs."""
    if on_progress is None or not requests:
        yield
        return
    watches = [Watch(request) for request in requests]
    done = threading.Event()

    def look() -> None:
        while not done.wait(SECONDS_BETWEEN_LOOKS):
            for watch in watches:
                progress = watch.look(time.monotonic())
                if progress is not None:
                    on_progress(progress)

    thread = threading.Thread(target=look, name="mixproof-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
