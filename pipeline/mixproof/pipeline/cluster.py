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
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mixproof.ledger.errors import MixproofError, RequestError
from mixproof.ledger.objects import PLACE

from .sent import Needs, Sent

T = TypeVar("T")

OBJECT_STORE_BYTES = 128 * 1024 * 1024
"""Results are receipts' small numbers; Ray's own default is 30% of the machine's memory."""

LEAST_SENT = 64
"""Calls sent at a time to a cluster, which may have no workers yet and starts them for what it sees waiting."""

STARTS = 3
"""Ray gives its own processes 15 s to come up, which a busy machine may miss: then it is started again."""

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
        self._checks: list[Callable[[], None]] = []
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
        while self._checks:
            self._checks.pop()()
        needs = needs or [Needs()] * len(calls)
        self._check_needs(needs, label)
        window = self._room(needs) if passes_on else self._window(needs)
        held = [Needs(0)] * len(calls) if passes_on else needs
        sent = Sent(function, calls, held, label, max_retries, more_memory=not passes_on)
        results: dict[int, T] = {}
        self._report(label, 0, len(calls))
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
        return [results[call] for call in range(len(calls))]

    @property
    def is_shared(self) -> bool:
        """Whether it is a running cluster, which may have other machines, and not a Ray of this command's own."""
        return self._address is not None

    def on_every_node(self, function: Callable[..., T], *arguments: object) -> dict[str, T]:
        """Call `function` on each node that the cluster has now; results by the nodes' names and addresses."""
        self._start()
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # half of Ray is typed
        task = ray.remote(function)
        sent = {
            f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})": task.options(
                num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(*arguments)
            for node in nodes
            if node["Alive"]
        }
        results: list[T] = ray.get(list(sent.values()))
        return dict(zip(sent, results, strict=True))

    def gpus(self) -> int:
        """GPUs of the cluster, or of this machine, as it is now; nodes that it would start are not counted."""
        self._start()
        return int(_resources().gpus)

    def _report(self, label: str, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(label, done, total)

    def _processors(self) -> int:
        return self._workers or max(1, int(_resources().cpus))

    def _window(self, needs: Sequence[Needs]) -> int:
        """Calls to send at a time: twice what runs, and on a cluster enough for it to see what it should grow to."""
        least = 2 if self._address is None else LEAST_SENT
        return max(least, int(2 * self._processors() / max(min(need.cpus for need in needs), 0.01)))

    def _room(self, needs: Sequence[Needs]) -> int:
        """Calls that have room beside each other, by the largest."""
        there = _resources()
        rooms = [self._processors() / max(need.cpus for need in needs)]
        if gpus := max(need.gpus for need in needs):
            rooms.append(there.gpus / gpus)
        return max(1, int(min(rooms)))

    def _check_needs(self, needs: Sequence[Needs], label: str) -> None:
        """Refuse what would wait for ever: Ray started on this machine has what it has, a cluster may still grow."""
        if self._address is not None:
            return
        most = _resources()
        beyond = [need for need in needs if need.cpus > most.cpus or need.gpus > most.gpus]
        if beyond:
            raise RequestError(f"{label}: a task asks for {beyond[0]}, and there are {most} here; ask for less")

    def _start(self) -> None:
        if ray.is_initialized():
            return
        for name, value in (_QUIET | _NO_BLIND_RETRY).items():
            os.environ.setdefault(name, value)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if self._address is None:
                _start_here(self._workers or os.cpu_count() or 1, quiet)
            elif "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
                ray.init(address="auto", **quiet)  # a submitted job brings its own runtime environment
            else:
                ray.init(address=self._address, runtime_env={"env_vars": _worker_environment()}, **quiet)
        except ConnectionError as error:
            place = self._address or "this machine"
            if "AuthToken" in str(error.__cause__):
                raise RequestError(
                    f"the Ray cluster at {place} asks for a token: set RAY_AUTH_MODE=token, and the cluster's token in "
                    "RAY_AUTH_TOKEN or ~/.ray/auth_token"
                ) from error
            raise RequestError(f"no Ray cluster answers at {place}: {error}; check --address") from error
        self._started = True


def _start_here(cpus: int, quiet: dict[str, Any]) -> None:
    for start in range(1, STARTS + 1):
        try:
            # "local": a bare init would join any Ray that happens to run on this machine
            ray.init(
                address="local",
                num_cpus=cpus,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                runtime_env={"env_vars": _worker_environment()},
                **quiet,
            )
        except Exception as error:  # Ray has no class of its own for processes that do not come up
            ray.shutdown()
            if start == STARTS:
                raise MixproofError(
                    f"Ray does not start on this machine, tried {STARTS} times: {error}; its logs are in Ray's "
                    "folder, see RAY_TMPDIR. What is finished is kept: the same command goes on from there"
                ) from error
        else:
            return


def _resources() -> Needs:
    """All that the cluster has now."""
    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # half of Ray is typed
    return Needs(there.get("CPU", 0), there.get("GPU", 0))


def _worker_environment() -> dict[str, str]:
    """One thread a worker; where objects are; from a checkout, its source roots, so that workers import this code."""
    environment = {"OMP_NUM_THREADS": "1"} | {name: os.environ[name] for name in PLACE if name in os.environ}
    portions = [Path(place).resolve().parent for place in import_module("mixproof").__path__]
    if len(portions) > 1:
        environment["PYTHONPATH"] = os.pathsep.join(str(place) for place in portions)
    return environment
