"""Start a local Ray without the services that nobody uses there.

With `include_dashboard=False` Ray still starts the dashboard's server for usage statistics, an autoscaler's monitor, a
log monitor, and two agents beside the raylet: one reports metrics to a dashboard, one sets up runtime environments. The
five take 4.2 CPU seconds and delay every start. Nobody looks at the dashboard of a command, a local Ray does not scale,
workers' logs are read from their files, and a command's own tasks have no runtime environment. Ray has no options to
leave them out, so the methods that start the first three are replaced while it starts. The raylet insists on its agents
and waits for the files in which they write their ports. Each is replaced by `cat`, which ends with the raylet, because
its standard input then closes, and by files that say that there is no such port, as Ray's minimal agent writes them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ray import _raylet
from ray._private import services, utils
from ray._private.node import Node
from ray._private.ray_constants import PROCESS_TYPE_RAYLET

DASHBOARD_AGENT = "--dashboard_agent_command="
DASHBOARD_AGENT_PORTS = ("METRICS_AGENT_PORT_NAME", "METRICS_EXPORT_PORT_NAME", "DASHBOARD_AGENT_LISTEN_PORT_NAME")
RUNTIME_ENV_AGENT = "--runtime_env_agent_command="
RUNTIME_ENV_AGENT_PORTS = ("RUNTIME_ENV_AGENT_PORT_NAME",)
NO_PORT = -1


@contextmanager
def without_unused_services(*, runtime_envs: bool) -> Iterator[None]:
    """Leave them out of a Ray that starts inside this block; a Ray without these methods starts as it does.

    Args:
        runtime_envs: whether drivers with a runtime environment may join; the agent that sets them up then stays.
    """
    ports: dict[str, Sequence[str]] = {DASHBOARD_AGENT: DASHBOARD_AGENT_PORTS}
    if not runtime_envs:
        ports[RUNTIME_ENV_AGENT] = RUNTIME_ENV_AGENT_PORTS
    replacements: list[tuple[object, str, Callable[..., Any]]] = [
        (Node, "start_monitor", _start_nothing),
        (Node, "start_log_monitor", _start_nothing),
        (Node, "start_api_server", _no_address),
        (utils, "get_dashboard_dependency_error", _no_dashboard),
    ]
    names = ("persist_port", *(name for each in ports.values() for name in each))
    if shutil.which("cat") and all(hasattr(_raylet, name) for name in names):
        replacements.append((services, "start_ray_process", _without_agents(services.start_ray_process, ports)))
    originals = [(owner, name, getattr(owner, name, None)) for owner, name, _ in replacements]
    if not all(original for *_, original in originals):
        yield
        return
    try:
        for owner, name, replacement in replacements:
            setattr(owner, name, replacement)
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def _start_nothing(node: Any) -> None:  # noqa: ANN401  Ray's node, which is not typed
    """Stand in for a method that starts a process."""


def _no_address(node: Any, **_: object) -> None:  # noqa: ANN401  Ray's node, which is not typed
    """Stand in for the method that starts the dashboard and remembers its address."""
    node._webui_url = ""


def _no_dashboard() -> ImportError:
    """Stand in for the function that imports the dashboard's packages, 0.2 s, to see whether its agent can start."""
    return ImportError("the dashboard is not used")


def _without_agents(start: Callable[..., Any], ports: Mapping[str, Sequence[str]]) -> Callable[..., Any]:
    """Wrap the function that starts Ray's processes: a raylet gets `cat` for its agents, and the files of no ports.

    Args:
        start: the function.
        ports: by the option that names an agent, the names of the ports that this agent would write.
    """

    def started(command: Sequence[str], process_type: str, *more: object, **options: object) -> Any:  # noqa: ANN401
        if process_type != PROCESS_TYPE_RAYLET:
            return start(command, process_type, *more, **options)
        values = dict(option.split("=", 1) for option in command if "=" in option)
        persist_port = getattr(_raylet, "persist_port")  # noqa: B009  Ray's stubs do not list it
        for name in (name for each in ports.values() for name in each):
            persist_port(values["--session_dir"], values["--node_id"], getattr(_raylet, name), NO_PORT)
        cat = shutil.which("cat")
        changed = [next((f"{agent}{cat}" for agent in ports if option.startswith(agent)), option) for option in command]
        return start(changed, process_type, *more, **options)

    return started
