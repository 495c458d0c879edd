"""The calls of one stage as Ray tasks: a limited number submitted at a time, retried with more memory if they die."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import ray

from mixproof.ledger.errors import MixproofError, NodeError, ProcessDiedError

from .head import ask_head
from .node_choice import MAX_NODES_TRIED, Blamed, NodeChoice
from .node_task import as_task, options, pickled_call
from .resources import MEMORY_SHARES, Needs, Node, RayDiedError, with_more_memory
from .results import SetupError, raise_if_ray_died, result_of
from .running import alive_nodes, crashes_by_node, is_idle, silent_nodes
from .same_code import DifferentCodeError
from .waiting import Waiting, missing_node

log = logging.getLogger(__name__)
T = TypeVar("T")

PROBE_SECONDS = 60
"""How long a node may take to run an empty task before it counts as one that runs none."""
SILENT = (
    "%s: %.0f s without a finished task; no task runs within %d s on %s. The disk of /tmp/ray may be full there. "
    "Repair the node, or end its Ray with `ray stop`: its tasks then run elsewhere"
)
LOST = (
    "%s: %.0f s without a finished task, and no CPU of the cluster is in use: Ray has lost %d tasks, as it may when a "
    "node dies while it starts. They run again"
)
CHECK_SECONDS = 5
"""How often Ray's own processes, and the caller's check, are looked at while no task finishes."""


class SubmittedCalls(Generic[T]):
    """Submitted Ray tasks; a task that dies is submitted again with more memory, unless it starts workers itself.

    With `code`, the command's `code_versions()`, workers whose own differ run nothing, and other nodes get the calls. A
    call that says its node is faulty (a NodeError), or whose worker crashes, runs again on another node, and `blamed`
    notes the node (see `node_choice`). Without `blamed`, a NodeError fails the call. All pending calls are submitted
    again if Ray has lost them, and, if they are `repeatable`, while a node runs no tasks at all. `while_waiting` is
    called every CHECK_SECONDS while no task finishes, and may raise.

    Tasks are never cancelled: `ray.cancel` on a task that is just finishing can abort the driver (Ray 2.60, "Tried to
    complete task that was not pending"). Tasks that still run when the command ends are stopped with it.
    """

    def __init__(
        self,
        function: Callable[..., T],
        calls: Sequence[tuple[object, ...]],
        needs: Sequence[Needs],
        label: str,
        max_retries: int,
        *,
        indices: Iterable[int] | None = None,
        code: Mapping[str, str] | None = None,
        blamed: Blamed | None = None,
        repeatable: bool = True,
        while_waiting: Callable[[], None] | None = None,
    ) -> None:
        self._task = ray.remote(as_task(function, label, len(calls), code))
        self._calls = calls
        self._needs = needs
        self._shared = blamed is not None
        self._repeatable = repeatable
        self._while_waiting = while_waiting
        self._choice = NodeChoice(blamed)
        self._label = label
        self._max_retries = max_retries
        self._waiting = iter(range(len(calls)) if indices is None else indices)
        self._pending: dict[Any, int] = {}
        self._required: dict[int, Needs] = {}
        self._deaths: Counter[int] = Counter()
        self._setup_failures: Counter[int] = Counter()
        self._started = time.time()
        self._waiting_for = Waiting()

    def fill(self, window: int) -> None:
        """Submit calls until `window` of them are pending or all are submitted."""
        while len(self._pending) < window and (call := next(self._waiting, None)) is not None:
            self._submit(call)

    def next_finished(self) -> tuple[int, T | MixproofError]:
        """Wait for the next call to finish; its index, and its result or error."""
        while True:
            finished = self._wait()
            call = self._pending.pop(finished)
            self._forget_repeated(call)
            try:
                result = result_of(finished, self._label)
            except ProcessDiedError as error:
                if self._needs[call].workers or self._deaths[call] == len(MEMORY_SHARES):
                    return call, error
                self._deaths[call] += 1
                if self._shared:
                    self._choice.crashed(call, self._needs[call], crashes_by_node(self._started), self._nodes())
                log.warning("%s: a worker crashed at call %d; it runs again with more memory", self._label, call + 1)
                self._submit(call)
            except RayDiedError:
                raise
            except SetupError as error:
                self._setup_failures[call] += 1
                if not self._shared or self._setup_failures[call] == MAX_NODES_TRIED:
                    return call, error
                log.warning("%s: call %d runs again: %s", self._label, call + 1, error)
                self._choice.silent(silent_nodes(PROBE_SECONDS), [self._needs[call]], self._nodes())
                self._submit(call)
            except DifferentCodeError as error:
                if not self._choice.refused(error, self._needs[call], self._nodes(), self._label):
                    return call, error
                self._submit(call)
            except NodeError as error:
                if not self._choice.failed(call, self._needs[call], error.node, self._nodes()):
                    return call, error
                log.warning("%s: call %d runs again on another node: %s", self._label, call + 1, error)
                self._submit(call)
            except MixproofError as error:
                return call, error
            else:
                self._choice.succeeded(call, self._label)
                return call, result

    def _wait(self) -> Any:  # noqa: ANN401 - a reference of Ray
        """Wait for a task to finish, successfully or not.

        Raises:
            RayDiedError: when Ray's own processes have died; then tasks would fail, or never finish.
        """
        while True:
            finished, _ = ray.wait(list(self._pending), num_returns=1, timeout=CHECK_SECONDS)
            raise_if_ray_died(self._label)
            if finished:
                self._waiting_for.finished()
                return finished[0]
            if self._while_waiting is not None:
                self._while_waiting()
            if (waited := self._waiting_for.due()) is not None:
                self._explain(waited)

    def _explain(self, waited: float) -> None:
        """Warn if no node can run the pending calls, a node runs none, or Ray has lost them; submit them again if so.

        Args:
            waited: seconds since a call finished.
        """
        required = [self._required[call] for call in self._pending.values()]
        nodes = self._nodes()
        if missing := missing_node(required, self._choice.usable(nodes)):
            log.warning("%s: %.0f s without a finished task; %s", self._label, waited, missing)
        elif self._shared and (silent := silent_nodes(PROBE_SECONDS)):
            log.warning(SILENT, self._label, waited, PROBE_SECONDS, ", ".join(silent.values()))
            if self._repeatable and self._choice.silent(silent, required, nodes):
                self._submit_again()
        elif self._shared and all(need.cpus and not need.workers for need in required) and is_idle():
            log.warning(LOST, self._label, waited, len(required))
            self._submit_again()  # also if they are not repeatable: none of them runs

    def _nodes(self) -> list[Node]:
        """The nodes that the cluster has now."""
        return ask_head(alive_nodes) if self._shared else alive_nodes()

    def _submit_again(self) -> None:
        """Submit all pending calls once more; the first task of a call to finish counts."""
        for call in dict.fromkeys(self._pending.values()):
            self._submit(call)

    def _forget_repeated(self, call: int) -> None:
        """Wait for no other task of a finished call; both write the same bytes."""
        for task in [task for task, other in self._pending.items() if other == call]:
            del self._pending[task]

    def _submit(self, call: int) -> None:
        required, deaths, avoided = self._needs[call], self._deaths[call], self._choice.avoided(call)
        if deaths:
            nodes = (node for node in self._nodes() if node.id not in avoided)
            required = with_more_memory(required, deaths, nodes)
        self._required[call] = required
        task = self._task.options(max_retries=self._max_retries, **options(required, avoided))
        self._pending[task.remote(call, avoided, pickled_call(self._calls[call]))] = call
