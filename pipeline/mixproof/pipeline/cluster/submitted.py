"""Calls of one stage as Ray tasks: sent so many at a time, taken as they end, tried again where memory was short."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError

from mixproof.ledger.disk_errors import storage_error
from mixproof.ledger.errors import MixproofError, ProcessDiedError

from .resources import Needs
from .task_logs import log_level, worker_log

log = logging.getLogger(__name__)
T = TypeVar("T")

MEMORY_SHARES = (0.5, 1.0)
"""Of the machine with the most memory: what a task gets that has died with its ordinary share."""


class Sent(Generic[T]):
    """Calls as Ray tasks under way; one that dies goes out again with more memory, where `more_memory` allows it.

    None is ever cancelled: `ray.cancel` of a task that is just ending can abort the driver (Ray 2.60, "Tried to
    complete task that was not pending"), and what a command leaves under way ends with it.
    """

    def __init__(
        self,
        function: Callable[..., T],
        calls: Sequence[tuple[object, ...]],
        needs: Sequence[Needs],
        label: str,
        max_retries: int,
        *,
        more_memory: bool,
    ) -> None:
        self._task = ray.remote(_logged(_telling(function), label, len(calls), log_level()))
        self._calls = calls
        self._needs = needs
        self._label = label
        self._max_retries = max_retries
        self._most_deaths = len(MEMORY_SHARES) if more_memory else 0
        self._waiting = iter(range(len(calls)))
        self._pending: dict[Any, int] = {}
        self._deaths: Counter[int] = Counter()

    def fill(self, window: int) -> None:
        """Send calls until `window` of them are under way, or none is left."""
        while len(self._pending) < window and (call := next(self._waiting, None)) is not None:
            self._send(call)

    def next_to_end(self) -> tuple[int, T | MixproofError]:
        """Wait for a call; its place, and its result or the error that it ended with."""
        while True:
            (ended,), _ = ray.wait(list(self._pending), num_returns=1)
            call = self._pending.pop(ended)
            try:
                return call, _get(ended, self._label)
            except ProcessDiedError as error:
                if self._deaths[call] >= self._most_deaths:
                    return call, error
                self._deaths[call] += 1
                log.warning("%s: a worker crashed at call %d; it runs again with more memory", self._label, call + 1)
                self._send(call)
            except MixproofError as error:
                return call, error

    def _send(self, call: int) -> None:
        task = self._task.options(max_retries=self._max_retries, **_options(self._needs[call], self._deaths[call]))
        self._pending[task.remote(call, *self._calls[call])] = call


def _logged(function: Callable[..., T], label: str, calls: int, level: int) -> Callable[..., T]:
    """The same function behind the number of its call, with the worker's log lines naming stage and call."""

    def logged(call: int, *arguments: object) -> T:
        with worker_log(f"{label}, call {call + 1} of {calls}", level):
            return function(*arguments)

    logged.__name__, logged.__qualname__ = function.__name__, function.__qualname__  # Ray's names of the task
    return logged


def _telling(function: Callable[..., T]) -> Callable[..., T]:
    """The same, which tells of a full disk on its own machine: on the way back an error loses what it came from."""

    @functools.wraps(function)
    def told(*arguments: object) -> T:
        try:
            return function(*arguments)
        except Exception as error:
            if (shown := storage_error(error)) is None:
                raise
            raise shown from error

    return told


def _get(reference: Any, label: str) -> Any:  # noqa: ANN401 - what the task returned, of the caller's type
    try:
        return ray.get(reference)
    except RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, MixproofError):
            raise cause from None
        raise  # a fault of ours
    except (WorkerCrashedError, OutOfMemoryError) as error:
        raise ProcessDiedError(
            f"{label}: a worker died again and again ({type(error).__name__}), most often for want of memory, and with "
            "a whole machine to itself as well; take machines with more memory or smaller files. What is finished is "
            "kept: the same command goes on from there"
        ) from error
    except RayError as error:
        raise MixproofError(
            f"{label}: Ray gave a task up ({type(error).__name__}: {error}); what is finished is kept: the same "
            "command goes on from there"
        ) from error


def _options(need: Needs, deaths: int) -> dict[str, float]:
    """Ray's options for a call: what it needs, or, where it has died, a share of the machine with the most memory."""
    options = {"num_cpus": need.cpus, "num_gpus": need.gpus}
    if not deaths:
        return options
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # half of Ray is typed
    machines = [node["Resources"] for node in nodes if node["Alive"]]
    largest = max(machines, key=lambda machine: machine.get("memory", 0))
    share = MEMORY_SHARES[deaths - 1]
    options["num_cpus"] = max(need.cpus, int(share * largest.get("CPU", 1)))
    return options | {"memory": int(share * largest.get("memory", 0))}
