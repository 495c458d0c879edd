"""The only way to Ray: plain tasks over shards, results in the order of the calls.

Ray starts at the first `run` and once per command, because a start costs 6-20 s on two cores; a command
whose stages are all reused never pays for it, nor for importing it (0.35 s): only `running.py` and `sent.py` do, when
the first call is sent. Tasks get keys and paths, never tables, and return small
records, so the object store stays small. At most twice as many tasks as processors are submitted at a
time; a worker that dies is retried by Ray, and a task's output is safe to make twice (see the store). A task that
dies for want of memory, or dies whatever Ray tries, runs again with half of a machine to itself, then with a whole one.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

from mixproof.ledger.errors import MixproofError, RequestError

from .resources import Needs

log = logging.getLogger(__name__)
T = TypeVar("T")

LEAST_SENT = 64
"""Calls sent at a time to a cluster, which may have no workers yet and starts them for what it sees waiting."""


class Cluster:
    """A Ray cluster for one command; a context manager.

    Args:
        address: of a running cluster; None: RAY_ADDRESS where it is set (the driver of a Ray job), else
            Ray is started on this machine and ends with the command.
        workers: tasks of one processor that run at a time on this machine; None: all processors.
        progress: called with (label, calls ended, calls in all) at the start and as calls end.
    """

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self._address = address or os.environ.get("RAY_ADDRESS") or None
        self._workers = workers
        self._progress = progress
        self._started = False
        self._checks: list[Callable[[], None]] = []
        self.stages_run = 0
        self.stages_reused = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:
            from .running import stop

            stop()
            self._started = False

    def count(self, *, run: int = 0, reused: int = 0) -> None:
        """Add to the stages that were run and reused; a stage is one key in the store."""
        self.stages_run += run
        self.stages_reused += reused

    def before_first_call(self, check: Callable[[], None]) -> None:
        """Let `check` run when the first call is about to be sent; a command that sends none starts no Ray for it."""
        self._checks.append(check)

    def run(
        self,
        function: Callable[..., T],
        calls: Sequence[tuple[object, ...]],
        *,
        label: str,
        needs: Sequence[Needs] | None = None,
        passes_on: bool = False,
        max_retries: int = 3,
        on_failure: Callable[[MixproofError], T] | None = None,
        on_result: Callable[[int, T], None] | None = None,
    ) -> list[T]:
        """Call `function` once for each tuple of arguments, as Ray tasks; results in the order of `calls`.

        Args:
            function: what runs in the workers.
            calls: its arguments, a tuple a call.
            label: name of the stage, for progress and errors.
            needs: of each call; None: one processor each.
            passes_on: the calls start workers of their own, which are given what the call needs, and not the call; so
                many are sent at a time as have room.
            max_retries: how often a call whose worker died is tried again.
            on_failure: where given, a call that fails does not end the others: what this makes of the error is
                the call's result.
            on_result: called with a call's place and its result, as calls end.

        Raises:
            RequestError: when this machine can never give a call what it needs.
            MixproofError: as a task raised it (the first to fail; those under way end with the command), or when
                a worker died more than `max_retries` times.
        """
        if not calls:
            return []
        self._start()
        from .submitted import Sent

        while self._checks:
            self._checks.pop()()
        needs = needs or [Needs()] * len(calls)
        self._check_needs(needs, label)
        window = self._room(needs) if passes_on else self._window(needs)
        held = [Needs(0)] * len(calls) if passes_on else needs
        sent = Sent(function, calls, held, label, max_retries, more_memory=not passes_on)
        results: dict[int, T] = {}
        self._report(label, 0, len(calls))
        log.info("%s: %d tasks, %d at a time", label, len(calls), min(window, len(calls)))
        started = time.monotonic()
        while len(results) < len(calls):
            sent.fill(window)
            call, result = sent.next_to_end()
            if isinstance(result, MixproofError):
                if on_failure is None:
                    raise result
                result = on_failure(result)
            results[call] = result
            if on_result is not None:
                on_result(call, result)
            self._report(label, len(results), len(calls))
        log.info("%s: finished in %.1f s", label, time.monotonic() - started)
        return [results[call] for call in range(len(calls))]

    @property
    def is_shared(self) -> bool:
        """Whether it is a running cluster, which may have other machines, and not a Ray of this command's own."""
        return self._address is not None

    def on_every_node(self, function: Callable[..., T], *arguments: object) -> dict[str, T]:
        """Call `function` on each node that the cluster has now; results by the nodes' names and addresses."""
        self._start()
        from .running import on_every_node

        return on_every_node(function, arguments)

    def gpus(self) -> int:
        """GPUs of the cluster, or of this machine, as it is now; nodes that it would start are not counted."""
        self._start()
        return int(self._there().gpus)

    def _report(self, label: str, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(label, done, total)

    def _processors(self) -> int:
        return self._workers or max(1, int(self._there().cpus))

    def _window(self, needs: Sequence[Needs]) -> int:
        """Calls to send at a time: twice what runs, and on a cluster enough for it to see what it should grow to."""
        least = 2 if self._address is None else LEAST_SENT
        return max(least, int(2 * self._processors() / max(min(need.cpus for need in needs), 0.01)))

    def _room(self, needs: Sequence[Needs]) -> int:
        """Calls that have room beside each other, by the largest."""
        there = self._there()
        rooms = [self._processors() / max(need.cpus for need in needs)]
        if gpus := max(need.gpus for need in needs):
            rooms.append(there.gpus / gpus)
        return max(1, int(min(rooms)))

    def _check_needs(self, needs: Sequence[Needs], label: str) -> None:
        """Refuse what would wait for ever: Ray started on this machine has what it has, a cluster may still grow."""
        if self._address is not None:
            return
        most = self._there()
        beyond = [need for need in needs if need.cpus > most.cpus or need.gpus > most.gpus]
        if beyond:
            raise RequestError(f"{label}: a task asks for {beyond[0]}, and there are {most} here; ask for less")

    def _start(self) -> None:
        from .running import start

        self._started |= start(self._address, self._workers)

    def _there(self) -> Needs:
        """All that the cluster has now."""
        from .running import resources

        return resources()
