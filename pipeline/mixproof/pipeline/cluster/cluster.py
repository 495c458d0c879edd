"""The only interface to Ray: plain tasks over shards, results in the order of the calls.

Ray starts at the first `run`, once per command, because starting it takes 2 s, and 6 to 20 s on a busy machine. A
command that reuses all of its stages never starts Ray and never imports it (0.35 s): the modules that import it are
imported when the first call is submitted. Tasks receive keys and paths, never tables, and return small
records, so Ray's object store stays small. At most twice as many tasks as CPUs are submitted at a time. Ray retries a
task whose worker died; that is safe because writing an output twice gives the same bytes (see the store). A task that
runs out of memory, or that fails even after Ray's retries, is run again with half of a machine reserved for it, then
with a whole machine.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from mixproof.ledger.errors import MixproofError, RequestError

from .address import check_address
from .interrupt import Interrupts
from .node_choice import Blamed
from .ray_files import ray_folder
from .resources import Needs, RayDiedError, SilentHeadError
from .same_code import code_versions
from .task_progress import START, OnProgress, StageProgress

if TYPE_CHECKING:
    from .submitted import SubmittedCalls

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_RESTARTS = 3
"""How often a command starts Ray again after Ray's own processes died."""
TASKS_PER_CPU = 8
"""Several, because steps differ: bytes predict the time of a task within a factor of ten only."""
MIN_SUBMITTED = 64
"""Minimum number of calls submitted at a time to a shared cluster, which may scale up from zero by what is queued."""


class Cluster:
    """A Ray cluster for one command; a context manager.

    Args:
        address: of a running cluster. None: RAY_ADDRESS if it is set (as for the driver of a Ray job); otherwise Ray
            is started on this machine and stopped with the command.
        workers: number of CPUs that tasks on this machine may use; None: all.
        progress: called when Ray starts, at the start of a stage, and whenever a call finishes.
    """

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        progress: OnProgress | None = None,
    ) -> None:
        self._address = check_address(address or os.environ.get("RAY_ADDRESS") or None)
        self._workers = workers
        self.progress = progress
        self._started = False
        self._announced = False
        self._restarts = 0
        self._checks: list[Callable[[], None]] = []
        self._interrupts = Interrupts()
        self._blamed = Blamed()
        self.stages_run = 0
        self.stages_reused = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:
            from .running import abandon, stop

            abandon() if isinstance(error, SilentHeadError) else stop()
        self._started = False
        self._interrupts.ignore()

    def count(self, *, run: int = 0, reused: int = 0) -> None:
        """Count stage outputs that were run and reused; each is one key in the store."""
        self.stages_run += run
        self.stages_reused += reused

    def before_first_call(self, check: Callable[[], None]) -> None:
        """Run `check` once, just before the first call is submitted; a command without calls never runs it."""
        self._checks.append(check)

    def run(
        self,
        function: Callable[..., T],
        calls: Sequence[tuple[object, ...]],
        *,
        label: str,
        needs: Sequence[Needs] | None = None,
        max_retries: int = 3,
        repeatable: bool = True,
        on_failure: Callable[[MixproofError], T] | None = None,
        on_result: Callable[[int, T], None] | None = None,
        call_bytes: Sequence[int] = (),
    ) -> list[T]:
        """Call `function` once for each tuple of arguments, as Ray tasks; results in the order of `calls`.

        Args:
            function: runs in the workers.
            calls: its arguments, one tuple per call.
            label: name of the stage, for progress and errors.
            needs: resources of each call; None: one CPU each. If calls start workers themselves, only as many calls are
                submitted at a time as fit side by side.
            max_retries: how often Ray retries a call whose worker died.
            repeatable: whether two tasks may run the same call at the same time; both write the same bytes.
            on_failure: turns the error of a failed call into its result, so that other calls continue. None: the first
                error ends the stage.
            on_result: called with a call's index and its result as each call finishes.
            call_bytes: input bytes of each call, for progress; empty: not known.

        Raises:
            RequestError: when this machine does not have the resources that a call needs.
            MixproofError: as raised by the first task that failed (running tasks end with the command), or when a
                worker died more than `max_retries` times.
        """
        if not calls:
            return []
        needs = needs or [Needs()] * len(calls)
        self._prepare(needs, label)
        window = self._window(needs)
        submit = self._submitter(function, calls, needs, label, max_retries, repeatable=repeatable)
        progress = StageProgress(self.progress, label, len(calls), call_bytes)
        log.info("%s: %d tasks, %d at a time", label, len(calls), min(window, len(calls)))
        started = time.monotonic()
        results: dict[int, T] = {}
        for call, result in self._finished(submit, len(calls), window):
            results[call] = found = _result_or_raise(result, on_failure)
            if on_result is not None:
                on_result(call, found)
            progress.finished(call)
        log.info("%s: finished in %.1f s", label, time.monotonic() - started)
        return [results[call] for call in range(len(calls))]

    def _prepare(self, needs: Sequence[Needs], label: str) -> None:
        """Start Ray, run the checks that wait for the first call, and refuse calls that would wait forever."""
        self._start()
        while self._checks:
            self._checks.pop()()
        self._check_needs(needs, label)

    def _submitter(
        self,
        function: Callable[..., T],
        calls: Sequence[tuple[object, ...]],
        needs: Sequence[Needs],
        label: str,
        max_retries: int,
        *,
        repeatable: bool,
    ) -> Callable[..., SubmittedCalls[T]]:
        """What submits a stage's calls, or only `indices` among them, with the checks that a shared cluster needs."""
        from .submitted import SubmittedCalls

        return partial(
            SubmittedCalls,
            function,
            calls,
            needs,
            label,
            max_retries,
            code=code_versions() if self.is_shared else None,
            blamed=self._blamed if self.is_shared else None,
            repeatable=repeatable,
            while_waiting=self._interrupts.check,
        )

    def _finished(
        self, submit: Callable[..., SubmittedCalls[T]], total: int, window: int
    ) -> Iterator[tuple[int, T | MixproofError]]:
        """Calls and their results as they finish; if Ray's own processes die, the others are submitted again."""
        unfinished = dict.fromkeys(range(total))
        submitted = submit()
        while unfinished:
            try:
                submitted.fill(window)
                call, result = submitted.next_finished()
            except RayDiedError as error:
                self._restart(error)
                submitted = submit(indices=list(unfinished))
                continue
            del unfinished[call]
            yield call, result
            self._interrupts.check()

    @property
    def is_shared(self) -> bool:
        """Whether this is a running cluster, perhaps of several machines, and not a Ray that this command started."""
        return self._address is not None

    def on_every_node(self, function: Callable[..., T], *arguments: object) -> dict[str, T]:
        """Call `function` on each node that the cluster has now; results by node name and address."""
        self._start()
        from .running import on_every_node

        return on_every_node(function, arguments)

    def parallel_tasks(self) -> int:
        """Number of tasks that keep all CPUs busy to the end of a stage; small inputs are divided among about as many.

        On a shared cluster, which may scale up from zero, at least MIN_SUBMITTED.
        """
        if self._address is None:
            return TASKS_PER_CPU * (self._workers or os.cpu_count() or 1)
        self._start()
        return max(MIN_SUBMITTED, TASKS_PER_CPU * self._cpus())

    def gpus(self) -> int:
        """Number of GPUs that the cluster or this machine has now; nodes not started yet do not count."""
        self._start()
        return int(self._resources().gpus)

    def _cpus(self) -> int:
        return self._workers or max(1, int(self._resources().cpus))

    def _window(self, needs: Sequence[Needs]) -> int:
        """Number of calls to submit at a time: twice what can run; on a cluster enough to make it scale up.

        Calls that start workers themselves wait until all of these fit.
        """
        if any(need.workers for need in needs):
            return self._side_by_side(needs)
        minimum = 2 if self._address is None else MIN_SUBMITTED
        return max(minimum, int(2 * self._cpus() / max(min(need.cpus for need in needs), 0.01)))

    def _side_by_side(self, needs: Sequence[Needs]) -> int:
        """Number of calls that fit into the cluster at once, if all were as large as the largest."""
        totals = [need.total() for need in needs]
        fitting = [self._cpus() / max(need.cpus for need in totals)]
        if gpus := max(need.gpus for need in totals):
            fitting.append(self._resources().gpus / gpus)
        return max(1, int(min(fitting)))

    def _check_needs(self, needs: Sequence[Needs], label: str) -> None:
        """Refuse calls that would wait forever. A local Ray cannot grow; a cluster may still add nodes."""
        if self._address is not None:
            return
        available = self._resources()
        too_large = [
            need for need in map(Needs.total, needs) if need.cpus > available.cpus or need.gpus > available.gpus
        ]
        if too_large:
            raise RequestError(
                f"{label}: a task needs {too_large[0]}, but this machine has {available}; reduce what the task needs "
                "or use a larger machine"
            )

    def _start(self) -> None:
        if not self._announced:
            self._announced = True
            self._interrupts.watch()
            StageProgress(self.progress, START, 1)
        from .running import dead_processes, start

        if dead := dead_processes():
            self._restart(RayDiedError(f"Ray's {' and '.join(dead)} died"))
        self._started |= start(self._address, self._workers)

    def _restart(self, error: RayDiedError) -> None:
        """Start Ray again after its own processes died on this machine.

        Raises:
            RayDiedError: when that has happened MAX_RESTARTS times before.
        """
        from .running import start, stop

        if self._restarts == MAX_RESTARTS:
            raise RayDiedError(
                f"{error} {MAX_RESTARTS + 1} times on this machine, probably killed because memory is short; see Ray's "
                f"logs below {ray_folder() or 'RAY_TMPDIR'}. Finished work is kept: the same command resumes"
            ) from error
        self._restarts += 1
        log.warning("%s; Ray is started again, and unfinished tasks run again", error)
        stop()
        self._started |= start(self._address, self._workers)

    def _resources(self) -> Needs:
        """All resources that the cluster has now."""
        from .head import ask_head
        from .running import resources

        return ask_head(resources) if self.is_shared else resources()


def _result_or_raise(result: T | MixproofError, on_failure: Callable[[MixproofError], T] | None) -> T:
    """A call's result. The error of a call that failed is raised, or made into a result by `on_failure`."""
    if not isinstance(result, MixproofError):
        return result
    if on_failure is None:
        raise result
    return on_failure(result)
