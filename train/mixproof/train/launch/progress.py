"""Progress of runs while they train, read from their folders, so that workers need not send messages.

A thread in the command reads the last line of every run's metrics once a second. Speed is measured over the most
recent samples, not over the whole run, so that a resumed run does not show its earlier average. The remaining time of
all runs is estimated in FLOPs, because a step of a large proxy takes longer than a step of a small one.
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
from mixproof.train.proxies import flops_of_tokens
from mixproof.train.record import run_folder
from mixproof.train.request import RunRequest

POLL_SECONDS = 1.0
SPEED_SAMPLES = 30
"""Most recent polls over which speed is measured."""

State = Literal["waiting", "starting", "training", "scoring", "done", "failed"]


@dataclass(frozen=True)
class RunProgress:
    """Progress of one run."""

    mixture: str
    proxy: str
    seed: int
    state: State
    tokens: int
    """Trained so far, including earlier attempts."""
    tokens_planned: int
    loss: float | None
    """Nats per target at the latest step; None before the first step."""
    tokens_per_second: float | None
    """None until two polls saw progress."""
    seconds_left: float | None
    """Of training, without evaluation."""
    reason: str | None
    """Why it failed; None otherwise."""


@dataclass(frozen=True)
class FamilyProgress:
    """Progress of all runs of a command, in the order of the spec."""

    runs: tuple[RunProgress, ...]
    seconds_left: float | None
    """Of all remaining training, at the average speed since the command started; None before the first progress."""


class Watch:
    """Follows one run."""

    def __init__(self, request: RunRequest, *, ended: bool = False) -> None:
        """Start watching; `ended`: the run is already done."""
        self._request = request
        self._folder = run_folder(Store(request.store), request.key)
        self._attempt = self._latest_attempt()
        self._samples: deque[tuple[float, int]] = deque(maxlen=SPEED_SAMPLES)
        self._last: StepMetrics | None = None
        self._state: State = "done" if ended else "waiting"
        self._reason: str | None = None
        budget = request.budget
        flops = flops_of_tokens(request.shape, request.tokenizer.vocab_size, budget.tokens_by_length(budget.samples))
        self.flops_per_token = flops / budget.tokens_planned
        """Mean over the run."""

    def end(self, reason: str | None) -> None:
        """Record the end of the run; `reason` is why it failed, None if it is done."""
        self._state, self._reason = ("done", None) if reason is None else ("failed", reason)

    def poll(self, now: float) -> RunProgress:
        """Read the run's progress at time `now`, in seconds."""
        if self._state == "waiting" and self._latest_attempt() != self._attempt:
            self._state = "starting"
        self._read_metrics(now)
        return self._progress()

    def _read_metrics(self, now: float) -> None:
        last = last_metrics(self._folder)
        if last is None or (self._last is not None and self._last.tokens == last.tokens):
            return
        if self._last is not None and last.tokens < self._last.tokens:
            self._samples.clear()  # it resumed from an earlier checkpoint
        if self._state in ("starting", "training"):
            self._state = "training" if last.tokens < self._request.budget.tokens_planned else "scoring"
        self._last = last
        self._samples.append((now, last.tokens))

    def _latest_attempt(self) -> bytes:
        path = self._folder / ATTEMPT
        return path.read_bytes() if path.is_file() else b""

    def _progress(self) -> RunProgress:
        request, budget = self._request, self._request.budget
        done = self._last.tokens if self._last is not None else 0
        speed = None
        if self._state == "training" and len(self._samples) > 1:
            (start, before), (end, after) = self._samples[0], self._samples[-1]
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
        """Start watching `requests`; `done` marks those that are already done."""
        self._watches: Mapping[str, Watch] = {
            request.key: Watch(request, ended=ended) for request, ended in zip(requests, done, strict=True)
        }
        self._started: tuple[float, float] | None = None

    def end(self, request: RunRequest, reason: str | None) -> None:
        """Record the end of one run."""
        self._watches[request.key].end(reason)

    def poll(self, now: float) -> FamilyProgress:
        """Read the progress of every run at time `now`, in seconds."""
        runs = tuple(watch.poll(now) for watch in self._watches.values())
        done_flops = left_flops = 0.0
        for run, watch in zip(runs, self._watches.values(), strict=True):
            done_flops += run.tokens * watch.flops_per_token
            if run.state not in ("done", "failed"):
                left_flops += (run.tokens_planned - run.tokens) * watch.flops_per_token
        if self._started is None:
            self._started = now, done_flops
        start, before = self._started
        flops_per_second = (done_flops - before) / (now - start) if now > start else 0.0
        return FamilyProgress(runs, left_flops / flops_per_second if flops_per_second > 0 else None)


@contextmanager
def watching(watch: FamilyWatch, on_progress: Callable[[FamilyProgress], None] | None) -> Iterator[None]:
    """Call `on_progress` about once a second while the block runs, and once at its end."""
    if on_progress is None:
        yield
        return
    done = threading.Event()

    def poll() -> None:
        while not done.wait(POLL_SECONDS):
            on_progress(watch.poll(time.monotonic()))

    thread = threading.Thread(target=poll, name="mixproof-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        on_progress(watch.poll(time.monotonic()))
