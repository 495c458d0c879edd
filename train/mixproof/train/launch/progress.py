"""What runs are doing while they train: read from their folders, so that no message has to leave a worker.

A thread in the command looks at the last line of every run's metrics once a second. Speed is that of the last looks,
not of the whole run: a resumed run does not start with the average of its past. What is left of a whole family is
reckoned in operations, because a step of a large proxy takes longer than one of a small proxy.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from mixproof.ledger.store import Store
from mixproof.train.loop.metrics import StepMetrics, last_metrics
from mixproof.train.ownership import ATTEMPT
from mixproof.train.proxies import flops_per_token
from mixproof.train.record import run_folder
from mixproof.train.request import RunRequest

SECONDS_BETWEEN_LOOKS = 1.0
LOOKS_OF_SPEED = 30

State = Literal["waiting", "starting", "training", "scoring", "done", "failed"]


@dataclass(frozen=True)
class RunProgress:
    """Where one run is."""

    mixture: str
    proxy: str
    seed: int
    state: State
    tokens: int
    """Trained on, those of earlier attempts included."""
    tokens_planned: int
    loss: float | None
    """Nats per target in the last step; None before the first."""
    tokens_per_second: float | None
    """None until two looks saw it move."""
    seconds_left: float | None
    """Of training, without evaluation."""
    reason: str | None
    """Why it failed."""


@dataclass(frozen=True)
class FamilyProgress:
    """Where all runs of a command are, in the order of the spec."""

    runs: tuple[RunProgress, ...]
    seconds_left: float | None
    """Of all training that is left, at the pace since the command started; None while nothing was done yet."""


class Watch:
    """Follows one run."""

    def __init__(self, request: RunRequest, *, ended: bool = False) -> None:
        """Start to follow; `ended`: the run is done already."""
        self._request = request
        self._folder = run_folder(Store(request.store), request.key)
        self._attempt = self._latest_attempt()
        self._looks: deque[tuple[float, int]] = deque(maxlen=LOOKS_OF_SPEED)
        self._last: StepMetrics | None = None
        self._state: State = "done" if ended else "waiting"
        self._reason: str | None = None
        self.flops_per_token = flops_per_token(
            request.shape, request.tokenizer.vocab_size, request.budget.sequence_length
        )

    def end(self, reason: str | None) -> None:
        """The run has ended; `reason` says why it failed, None that it is done."""
        self._state, self._reason = ("done", None) if reason is None else ("failed", reason)

    def look(self, now: float) -> RunProgress:
        """Where the run is at time `now` in seconds."""
        if self._state == "waiting" and self._latest_attempt() != self._attempt:
            self._state = "starting"
        self._follow(now)
        return self._progress()

    def _follow(self, now: float) -> None:
        last = last_metrics(self._folder)
        if last is None or (self._last is not None and self._last.tokens == last.tokens):
            return
        if self._last is not None and last.tokens < self._last.tokens:
            self._looks.clear()  # it went back to its checkpoint
        if self._state in ("starting", "training"):
            self._state = "training" if last.tokens < self._request.budget.tokens_planned else "scoring"
        self._last = last
        self._looks.append((now, last.tokens))

    def _latest_attempt(self) -> bytes:
        path = self._folder / ATTEMPT
        return path.read_bytes() if path.is_file() else b""

    def _progress(self) -> RunProgress:
        request, budget = self._request, self._request.budget
        done = self._last.tokens if self._last is not None else 0
        speed = None
        if self._state == "training" and len(self._looks) > 1:
            (start, before), (end, after) = self._looks[0], self._looks[-1]
            speed = (after - before) / (end - start)
        return RunProgress(
            mixture=request.mixture,
            proxy=request.proxy,
            seed=request.seed,
            state=self._state,
            tokens=done,
            tokens_planned=budget.tokens_planned,
            loss=self._last.loss if self._last is not None else None,
            tokens_per_second=speed,
            seconds_left=(budget.tokens_planned - done) / speed if speed else None,
            reason=self._reason,
        )


class FamilyWatch:
    """Follows all runs of a command."""

    def __init__(self, requests: Sequence[RunRequest], done: Sequence[bool]) -> None:
        """Start to follow `requests`; `done` says which of them were done before."""
        self._watches: Mapping[str, Watch] = {
            request.key: Watch(request, ended=ended) for request, ended in zip(requests, done, strict=True)
        }
        self._started: tuple[float, float] | None = None

    def end(self, request: RunRequest, reason: str | None) -> None:
        """One run has ended."""
        self._watches[request.key].end(reason)

    def look(self, now: float) -> FamilyProgress:
        """Where every run is at time `now` in seconds."""
        runs = tuple(watch.look(now) for watch in self._watches.values())
        done = left = 0.0
        for run, watch in zip(runs, self._watches.values(), strict=True):
            done += run.tokens * watch.flops_per_token
            if run.state not in ("done", "failed"):
                left += (run.tokens_planned - run.tokens) * watch.flops_per_token
        if self._started is None:
            self._started = now, done
        start, before = self._started
        pace = (done - before) / (now - start) if now > start else 0.0
        return FamilyProgress(runs, left / pace if pace > 0 else None)


@contextmanager
def watching(watch: FamilyWatch, on_progress: Callable[[FamilyProgress], None] | None) -> Iterator[None]:
    """Call `on_progress` about once a second while the block runs, and once at its end."""
    if on_progress is None:
        yield
        return
    done = threading.Event()

    def look() -> None:
        while not done.wait(SECONDS_BETWEEN_LOOKS):
            on_progress(watch.look(time.monotonic()))

    thread = threading.Thread(target=look, name="mixproof-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        on_progress(watch.look(time.monotonic()))
