"""Start Ray on this machine, or join a running cluster.

Importing Ray takes 0.35 s, which a command that reuses all of its stages does not need to spend. `cluster.py` therefore
imports this module, and the others that import Ray, at the first call.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.exceptions import NodeDiedError, RayError, TaskUnschedulableError
from ray.job_config import JobConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mixproof.ledger.errors import MixproofError, RequestError
from mixproof.ledger.objects.urls import LOCATION_VARIABLES
from mixproof.ledger.shown_text import unsigned

from .head import check_head, needs_token
from .ray_files import protect_token, ray_folder
from .resources import GPU_TASKS_LABEL, Needs, Node
from .services import without_unused_services

log = logging.getLogger(__name__)
T = TypeVar("T")

OBJECT_STORE_BYTES = 128 * 1024 * 1024
"""Results are small records; Ray's default would be 30% of the machine's memory."""

MAX_STARTS = 3
"""Ray gives its own processes 15 s to start; a busy machine may exceed that, so starting is tried again."""

_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_task_oom_retries": "0"}
"""The last one: otherwise Ray retries a task that its memory monitor killed forever, each time with the same memory."""


_VITAL = {"gcs_server", "raylet"}


def start(address: str | None, workers: int | None) -> bool:
    """Start Ray on this machine, or join the cluster at `address`; False if this process is connected already.

    Args:
        address: of a running cluster; None: start Ray.
        workers: number of CPUs of the Ray that is started; None: all.

    Raises:
        RequestError: when no cluster is at the address.
        SilentHeadError: when its head does not answer.
        MixproofError: when Ray cannot be started here.
    """
    if ray.is_initialized():
        return False
    ray._private.worker.print_to_stdstream = _log_messages
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is not None:
        check_head(address)
    try:
        if address is None:
            joined = _start_here(workers or os.cpu_count() or 1, quiet)
        elif "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
            joined = ray.init(address="auto", **quiet)  # a submitted job has its own runtime environment
        else:
            joined = ray.init(
                address=address, runtime_env={"env_vars": _worker_environment()}, job_config=_job_config(), **quiet
            )
    except ConnectionError as error:
        host = address or "this machine"
        if "AuthToken" in str(error.__cause__):
            raise needs_token(host) from error
        raise RequestError(f"no Ray cluster answers at {host}: {error}; check --address") from error
    except ValueError as error:
        if address is None or "Invalid address" not in str(error):
            raise
        raise RequestError("--address: not the address of a Ray cluster, such as 10.0.0.1:6379") from error
    folder = joined.address_info["session_dir"]
    log.info("Ray %s on %s; workers log to %s/logs/worker-*.err", ray.__version__, address or "this machine", folder)
    return True


def stop() -> None:
    """Stop the Ray that `start` started, or disconnect from the cluster that it joined."""
    ray.shutdown()


def abandon() -> None:
    """Leave a cluster whose head does not answer: shutting Ray down, now or at the end of this process, would wait."""
    atexit.unregister(ray.shutdown)


def _log_messages(data: Any, ignore_prefix: bool) -> None:  # noqa: ANN401 - Ray's signature
    """Log what Ray would print to stdout, such as that a worker died: stdout belongs to the command's own output."""
    for line in data["lines"]:
        log.debug("Ray: %s", line)


def dead_processes() -> list[str]:
    """Return the names of Ray's own processes, such as `raylet`, that this command started and that have died."""
    node: Any = ray._private.worker._global_node  # the public API does not tell; None if Ray was not started here
    return [] if node is None else sorted({str(name) for name, _ in node.dead_processes()} & _VITAL)


def resources() -> Needs:
    """All resources that the cluster has now."""
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # half of Ray is typed
    return Needs(total.get("CPU", 0), total.get("GPU", 0))


def alive_nodes() -> list[Node]:
    """The nodes that the cluster has now."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # half of Ray is typed
    label, value = GPU_TASKS_LABEL
    return [
        Node(
            cpus=node["Resources"].get("CPU", 0),
            gpus=node["Resources"].get("GPU", 0),
            memory_bytes=node["Resources"].get("memory", 0),
            id=node["NodeID"],
            gpu_tasks_only=node["Labels"].get(label) == value,
        )
        for node in nodes
        if node["Alive"]
    ]


def crashes_by_node(since: float) -> Counter[str]:
    """Number of workers that crashed on each node since a time in seconds of the epoch, by node id.

    The public API has this only where the dashboard runs.
    """
    exit_types = import_module("ray.core.generated.common_pb2").WorkerExitType
    row: Any = import_module("ray.core.generated.gcs_pb2").WorkerTableData
    table = ray._private.state.state._connect_and_get_accessor().get_worker_table()
    workers = map(row.FromString, table)
    crashed = (exit_types.Value("SYSTEM_ERROR"), exit_types.Value("NODE_OUT_OF_MEMORY"))
    return Counter(
        worker.worker_address.node_id.hex()
        for worker in workers
        if not worker.is_alive and worker.exit_type in crashed and worker.end_time_ms >= since * 1000
    )


def on_every_node(function: Callable[..., T], arguments: tuple[object, ...]) -> dict[str, T]:
    """Call `function` on each node that the cluster has now; results by node name and address.

    A node that leaves the cluster meanwhile is omitted.
    """
    results: dict[str, T] = {}
    for node, result in _submit_to_nodes(function, arguments, max_retries=3):
        with contextlib.suppress(NodeDiedError, TaskUnschedulableError):  # no other task will run there either
            results[_name(node)] = ray.get(result)
    return results


def silent_nodes(seconds: float) -> dict[str, str]:
    """Nodes on which no worker runs a task within this many seconds: names by node id.

    A full disk below /tmp/ray can cause this. Ray neither reports it nor sends the node's tasks elsewhere.
    """
    submitted = list(_submit_to_nodes(lambda: None, (), max_retries=0))  # a node may lack this module
    finished, _ = ray.wait([result for _, result in submitted], num_returns=len(submitted), timeout=seconds)
    return {
        node["NodeID"]: _name(node) for node, result in submitted if result not in finished or not _succeeded(result)
    }


def is_idle() -> bool:
    """Whether no CPU of the cluster is in use, so no task that needs one runs or starts."""
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # half of Ray is typed
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]  # as above
    return 0 < total.get("CPU", 0) == free.get("CPU", 0)


def _succeeded(result: Any) -> bool:  # noqa: ANN401  a reference of Ray
    """Whether a finished probe ran, or its node has left the cluster."""
    try:
        ray.get(result)
    except (NodeDiedError, TaskUnschedulableError):
        return True
    except RayError:
        return False
    return True


def _submit_to_nodes(
    function: Callable[..., T], arguments: tuple[object, ...], max_retries: int
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Submit a call without CPUs to each node that the cluster has now; Ray's entry of the node, and the reference."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # half of Ray is typed
    task = ray.remote(function)
    for node in nodes:
        if node["Alive"]:
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            options = task.options(num_cpus=0, max_retries=max_retries, scheduling_strategy=here)
            yield node, options.remote(*arguments)


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})"


def _start_here(cpus: int, quiet: dict[str, Any]) -> Any:  # noqa: ANN401 - Ray's context, which is not typed
    folder = ray_folder()
    protect_token()
    for start in range(1, MAX_STARTS + 1):
        try:
            # "local": a bare init would join any Ray that happens to run on this machine
            with without_unused_services(), _inherited(_worker_environment()):
                return ray.init(
                    address="local",
                    num_cpus=cpus,
                    object_store_memory=OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    job_config=_job_config(),
                    _temp_dir=folder,
                    **quiet,
                )
        except Exception as error:  # Ray has no exception class for processes that fail to start
            ray.shutdown()
            if start == MAX_STARTS:
                raise MixproofError(
                    f"Ray could not be started on this machine in {MAX_STARTS} attempts: {error}; see Ray's logs "
                    f"below {folder or 'RAY_TMPDIR'}. Finished work is kept: the same command resumes"
                ) from error
    raise AssertionError("the last start returns or raises")


class _NoFolders(list[str]):
    """The folders that workers import modules from, which stays empty.

    Ray adds the working directory of the command. That may be a folder of another team's corpora, where a file
    `numpy.py` would run in every worker.
    """

    def extend(self, folders: Iterable[str]) -> None:
        """Add nothing."""


def _job_config() -> Any:  # noqa: ANN401  Ray's class, whose list of folders is private
    config: Any = JobConfig()
    config._py_driver_sys_path = _NoFolders()
    return config


@contextlib.contextmanager
def _inherited(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables that the processes started in this block inherit.

    A runtime environment would do the same, but every worker with one starts Python twice, which takes 0.5 CPU seconds.
    """
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _worker_environment() -> dict[str, str]:
    """One thread per worker, the location of the object store, and a checkout's source roots on the Python path.

    Ray shows them to everybody who can ask the cluster. Clients of S3 ignore a user name and password in the location,
    so these are left out.
    """
    environment = {"OMP_NUM_THREADS": "1"} | {
        name: unsigned(os.environ[name]) for name in LOCATION_VARIABLES if name in os.environ
    }
    portions = [Path(path).resolve().parent for path in import_module("mixproof").__path__]
    if len(portions) > 1:
        others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*map(str, portions), *others]))
    return environment
