"""A stage's function as a task of Ray: what happens on a node before and around a call.

A node may have another mixproof than the command, or none. What Ray sends there is therefore a function without a
name that a module would have to provide: it compares the code first, and only then loads the stage's function and the
call's arguments, whose modules the node may lack.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pickle import loads
from typing import Any, TypeVar

import ray
from ray import cloudpickle

from mixproof.ledger.disk_errors import storage_error
from mixproof.ledger.errors import NodeError

from .resources import GPU_TASKS_LABEL, Needs
from .same_code import differences
from .task_logs import log_level, worker_log

T = TypeVar("T")

NODE_LABEL = "ray.io/node-id"
"""Ray gives every node this label."""
_avoided: ContextVar[frozenset[str]] = ContextVar("avoided", default=frozenset())


def as_task(function: Callable[..., T], label: str, calls: int, code: Mapping[str, str] | None) -> Callable[..., Any]:
    """Return what Ray runs for a call of a stage; see `pickled_call` for its arguments.

    Args:
        function: of the stage.
        label: of the stage.
        calls: number of its calls.
        code: the command's `code_versions()`; None: do not compare them.

    Returns:
        A function that gives True and the result of `function`; or False and, if the node cannot run it, the node's
        id, its name, and how it differs.
    """
    run, compare = _pickled(_logged(_naming_its_node(function), label, calls)), _pickled(differences)

    def task(call: int, avoided: frozenset[str], pickled: bytes) -> tuple[bool, Any]:
        try:
            differs = [] if code is None else loads(compare)(code)  # noqa: S301  all from the command itself
            if not differs:
                loaded, arguments = loads(run), loads(pickled)  # noqa: S301  as above
        except Exception as error:  # noqa: BLE001  a module may be missing, or be another one
            differs = [f"{type(error).__name__}: {error}"]
        if differs:
            return False, (ray.get_runtime_context().get_node_id(), socket.gethostname(), ", ".join(differs))
        return True, loaded(call, avoided, *arguments)

    task.__name__ = task.__qualname__ = function.__name__  # Ray's name of the task
    return task


def pickled_call(arguments: tuple[object, ...]) -> bytes:
    """A call's arguments as a task takes them."""
    return _pickled(arguments)


def options(need: Needs, avoided: Collection[str]) -> dict[str, Any]:
    """Ray's options for a call that must not run on some nodes."""
    selector = node_selector(need, avoided)
    if need.workers:
        need = Needs(0)
    memory = {"memory": need.memory_bytes} if need.memory_bytes else {}
    return {"num_cpus": need.cpus, "num_gpus": need.gpus, "label_selector": selector} | memory


def node_selector(need: Needs, avoided: Collection[str]) -> dict[str, str]:
    """Ray's selector of the nodes on which a call, or a worker that it starts, may run."""
    label, value = GPU_TASKS_LABEL
    selector = {} if need.gpus else {label: f"!{value}"}
    if avoided:
        selector[NODE_LABEL] = f"!in({','.join(sorted(avoided))})"
    return selector


def avoided_nodes() -> frozenset[str]:
    """Ids of the nodes on which the call that runs in this worker, and so any worker that it starts, must not run."""
    return _avoided.get()


@contextmanager
def _avoiding(nodes: frozenset[str]) -> Iterator[None]:
    token = _avoided.set(nodes)
    try:
        yield
    finally:
        _avoided.reset(token)


def _pickled(value: object) -> bytes:
    pickled: bytes = cloudpickle.dumps(value)  # type: ignore[no-untyped-call]  # half of Ray is typed
    return pickled


def _logged(function: Callable[..., T], label: str, calls: int) -> Callable[..., T]:
    """Take the call's number and the nodes that it avoids; the worker's log lines name stage and call."""
    level = log_level()

    def logged(call: int, avoided: frozenset[str], *arguments: object) -> T:
        with _avoiding(avoided), worker_log(f"{label}, call {call + 1} of {calls}", level):
            return function(*arguments)

    return logged


def _naming_its_node(function: Callable[..., T]) -> Callable[..., T]:
    """Turn disk errors into StorageError in the worker: an error that travels back to the driver loses its cause.

    Errors that are a node's fault get the id of this node, unless they name another one.
    """

    @functools.wraps(function)
    def wrapped(*arguments: object) -> T:
        try:
            return function(*arguments)
        except Exception as error:
            shown = error if isinstance(error, NodeError) else storage_error(error)
            if shown is None:
                raise
            shown.node = shown.node or ray.get_runtime_context().get_node_id()
            raise shown from (None if shown is error else error)

    return wrapped
