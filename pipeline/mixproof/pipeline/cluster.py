"""The only place that starts Ray: plain tasks over shards, results in the order of the calls.

Ray starts at the first `run` and once per command, because a start costs 6-20 s on two cores; a command
whose stages are all reused never pays for it. Tasks get keys and paths, never tables, and return small
records, so the object store stays small. At most twice as many tasks as processors are submitted at a
time; a worker that dies is retried by Ray, and a task's output is safe to make twice (see the store). A task that
dies for want of memory, or dies whatever Ray tries, runs again with half of a machine to itself, then with a whole one.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import ray
from ray.exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError

from mixproof.ledger.errors import MixproofError, ProcessDiedError, RequestError

T = TypeVar("T")

OBJECT_STORE_BYTES = 128 * 1024 * 1024
"""Results are receipts' small numbers; Ray's own default is 30% of the machine's memory."""

MEMORY_SHARES = (0.5, 1.0)
"""Of the machine with the most memory: what a task gets that has died with its ordinary share."""

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_NO_BLIND_RETRY = {"RAY_task_oom_retries": "0"}
"""Ray would try a task that its memory monitor has killed for ever, with the same memory each time."""


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
        self.stages_run = 0
        self.stages_reused = 0

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:
            ray.shutdown()
            self._started = False

    def count(self, *, run: int = 0, reused: int = 0) -> None:
        """Add to the stages that were run and reused; a stage is one key in the store."""
        self.stages_run += run
        self.stages_reused += reused

    def run(
        self,
        function: Callable[..., T],
        calls: Sequence[tuple[object, ...]],
        *,
        label: str,
        num_cpus: float = 1,
        num_gpus: float = 0,
        max_retries: int = 3,
        on_failure: Callable[[MixproofError], T] | None = None,
    ) -> list[T]:
        """Call `function` once for each tuple of arguments, as Ray tasks; results in the order of `calls`.

        With `on_failure` a call that fails does not end the others: what it makes of the error is the result.

        Raises:
            MixproofError: as a task raised it (the first to fail; the others are cancelled), or when a
                worker died more than `max_retries` times.
        """
        if not calls:
            return []
        self._start()
        task = ray.remote(function)
        options: dict[str, Any] = {"num_cpus": num_cpus, "num_gpus": num_gpus, "max_retries": max_retries}
        deaths: Counter[int] = Counter()
        window = max(2, int(2 * self._processors() / max(num_cpus, 0.01)))
        results: dict[int, T] = {}
        pending: dict[Any, int] = {}
        waiting = iter(enumerate(calls))
        self._report(label, 0, len(calls))
        try:
            while len(results) < len(calls):
                while len(pending) < window and (item := next(waiting, None)) is not None:
                    pending[task.options(**options).remote(*item[1])] = item[0]
                ended, _ = ray.wait(list(pending), num_returns=1)
                call = pending.pop(ended[0])
                try:
                    results[call] = _get(ended[0], label)
                except ProcessDiedError as error:
                    deaths[call] += 1
                    if deaths[call] <= len(MEMORY_SHARES):
                        more = _more_memory(options, MEMORY_SHARES[deaths[call] - 1])
                        pending[task.options(**more).remote(*calls[call])] = call
                        continue
                    if on_failure is None:
                        raise
                    results[call] = on_failure(error)
                except MixproofError as error:
                    if on_failure is None:
                        raise
                    results[call] = on_failure(error)
                self._report(label, len(results), len(calls))
        finally:
            for reference in pending:
                ray.cancel(reference)
        return [results[index] for index in range(len(calls))]

    def _report(self, label: str, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(label, done, total)

    def _processors(self) -> int:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # half of Ray is typed
        return self._workers or max(1, int(resources.get("CPU", 1)))

    def _start(self) -> None:
        if ray.is_initialized():
            return
        for name, value in (_QUIET | _NO_BLIND_RETRY).items():
            os.environ.setdefault(name, value)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if self._address is None:
                # "local": a bare init would join any Ray that happens to run on this machine
                ray.init(
                    address="local",
                    num_cpus=self._workers or os.cpu_count() or 1,
                    object_store_memory=OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    runtime_env={"env_vars": _worker_environment()},
                    **quiet,
                )
            elif "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
                ray.init(address="auto", **quiet)  # a submitted job brings its own runtime environment
            else:
                ray.init(address=self._address, runtime_env={"env_vars": _worker_environment()}, **quiet)
        except ConnectionError as error:
            place = self._address or "this machine"
            raise RequestError(f"no Ray cluster answers at {place}: {error}; check --address") from error
        self._started = True


def _get(reference: Any, label: str) -> Any:  # noqa: ANN401 - what the task returned, of the caller's type
    try:
        return ray.get(reference)
    except RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, MixproofError):
            raise cause from None
        raise
    except (WorkerCrashedError, OutOfMemoryError) as error:
        raise ProcessDiedError(
            f"{label}: a worker died again and again ({type(error).__name__}), most often for want of memory, and with "
            "a whole machine to itself as well; take machines with more memory or smaller files. What is finished is "
            "kept: the same command goes on from there"
        ) from error


def _more_memory(options: dict[str, Any], share: float) -> dict[str, Any]:
    """Options that give a task this share of the memory and processors of the machine with the most memory."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # half of Ray is typed
    machines = [node["Resources"] for node in nodes if node["Alive"]]
    largest = max(machines, key=lambda machine: machine.get("memory", 0))
    cpus = max(options["num_cpus"], int(share * largest.get("CPU", 1)))
    return {**options, "num_cpus": cpus, "memory": int(share * largest.get("memory", 0))}


def _worker_environment() -> dict[str, str]:
    """One thread a worker; from a checkout, the source roots, so that workers import this very code."""
    environment = {"OMP_NUM_THREADS": "1"}
    portions = [Path(place).resolve().parent for place in import_module("mixproof").__path__]
    if len(portions) > 1:
        environment["PYTHONPATH"] = os.pathsep.join(str(place) for place in portions)
    return environment
