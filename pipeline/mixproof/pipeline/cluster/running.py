"""A Ray that answers: started on this machine, or joined at an address; beside `sent.py` all that imports Ray.

Importing it takes 0.35 s, which a command whose stages are all reused does without.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.exceptions import NodeDiedError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mixproof.ledger.errors import MixproofError, RequestError
from mixproof.ledger.objects import LOCATION_VARIABLES

from .resources import Needs

log = logging.getLogger(__name__)
T = TypeVar("T")

OBJECT_STORE_BYTES = 128 * 1024 * 1024
"""Results are receipts' small numbers; Ray's own default is 30% of the machine's memory."""

STARTS = 3
"""Ray gives its own processes 15 s to come up, which a busy machine may miss: then it is started again."""

_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_task_oom_retries": "0"}
"""The last one: Ray would try a task that its memory monitor has killed for ever, with the same memory each time."""


def start(address: str | None, workers: int | None) -> bool:
    """Start Ray on this machine, or join the one at `address`; False where this process has one already.

    Raises:
        RequestError: when no cluster answers at the address.
        MixproofError: when Ray does not come up here.
    """
    if ray.is_initialized():
        return False
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            joined = _start_here(workers or os.cpu_count() or 1, quiet)
        elif "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
            joined = ray.init(address="auto", **quiet)  # a submitted job brings its own runtime environment
        else:
            joined = ray.init(address=address, runtime_env={"env_vars": _worker_environment()}, **quiet)
    except ConnectionError as error:
        place = address or "this machine"
        if "AuthToken" in str(error.__cause__):
            raise RequestError(
                f"the Ray cluster at {place} asks for a token: set RAY_AUTH_MODE=token, and the cluster's token in "
                "RAY_AUTH_TOKEN or ~/.ray/auth_token"
            ) from error
        raise RequestError(f"no Ray cluster answers at {place}: {error}; check --address") from error
    folder = joined.address_info["session_dir"]
    log.info("Ray %s on %s; workers log to %s/logs/worker-*.err", ray.__version__, address or "this machine", folder)
    return True


def stop() -> None:
    """End what `start` has started, or leave what it has joined."""
    ray.shutdown()


def resources() -> Needs:
    """All that the cluster has now."""
    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # half of Ray is typed
    return Needs(there.get("CPU", 0), there.get("GPU", 0))


def on_every_node(function: Callable[..., T], arguments: tuple[object, ...]) -> dict[str, T]:
    """Call `function` on each node that the cluster has now; results by the nodes' names and addresses.

    A node that goes away meanwhile is left out.
    """
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # half of Ray is typed
    task = ray.remote(function)
    sent = {
        f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})": task.options(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(*arguments)
        for node in nodes
        if node["Alive"]
    }
    results: dict[str, T] = {}
    for name, result in sent.items():
        with contextlib.suppress(NodeDiedError, TaskUnschedulableError):  # no other task will be sent there either
            results[name] = ray.get(result)
    return results


def _start_here(cpus: int, quiet: dict[str, Any]) -> Any:  # noqa: ANN401 - Ray's context, which is not typed
    for start in range(1, STARTS + 1):
        try:
            # "local": a bare init would join any Ray that happens to run on this machine
            return ray.init(
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
    raise AssertionError("the last start returns or raises")


def _worker_environment() -> dict[str, str]:
    """One thread a worker; where objects are; from a checkout, its source roots, so that workers import this code."""
    environment = {"OMP_NUM_THREADS": "1"} | {
        name: os.environ[name] for name in LOCATION_VARIABLES if name in os.environ
    }
    portions = [Path(place).resolve().parent for place in import_module("mixproof").__path__]
    if len(portions) > 1:
        environment["PYTHONPATH"] = os.pathsep.join(str(place) for place in portions)
    return environment
