"""Start a local Ray without the services that nobody uses there.

With `include_dashboard=False` Ray still starts the dashboard's server for usage statistics, an autoscaler's monitor, a
log monitor, and an agent beside the raylet that reports metrics to a dashboard. The four take 3.5 CPU seconds and delay
every start. Nobody looks at the dashboard of a command, a local Ray does not scale, and workers' logs are read from
their files. Ray has no options to leave them out, so the methods that start the first three are replaced while it
starts. The raylet insists on its agent and waits for the files in which that writes its ports. It gets `cat`, which
ends with it, because its standard input then closes, and files that say that there is no such port, as Ray's minimal
agent writes them. The agent for runtime environments stays: runs of several ranks and commands that join this Ray use
it, and a raylet without it dies when they do.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ray import _raylet
from ray._private import services, utils
from ray._private.node import Node
from ray._private.ray_constants import PROCESS_TYPE_RAYLET

AGENT_COMMAND = "--dashboard_agent_command="
PORT_NAMES = ("METRICS_AGENT_PORT_NAME", "METRICS_EXPORT_PORT_NAME", "DASHBOARD_AGENT_LISTEN_PORT_NAME")
NO_PORT = -1


@contextmanager
def without_unused_services() -> Iterator[None]:
    """Leave them out of a Ray that starts inside this block; a Ray without these methods starts as it does."""
    replacements: list[tuple[object, str, Callable[..., Any]]] = [
        (Node, "start_monitor", _start_nothing),
        (Node, "start_log_monitor", _start_nothing),
        (Node, "start_api_server", _no_address),
        (utils, "get_dashboard_dependency_error", _no_dashboard),
    ]
    if shutil.which("cat") and all(hasattr(_raylet, name) for name in ("persist_port", *PORT_NAMES)):
        replacements.append((services, "start_ray_process", _without_agent(services.start_ray_process)))
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


def _without_agent(start: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the function that starts Ray's processes: a raylet gets `cat` for its agent, and the files of no ports."""

    def started(command: Sequence[str], process_type: str, *more: object, **options: object) -> Any:  # noqa: ANN401
        if process_type != PROCESS_TYPE_RAYLET:
            return start(command, process_type, *more, **options)
        values = dict(option.split("=", 1) for option in command if "=" in option)
        persist_port = getattr(_raylet, "persist_port")  # noqa: B009  Ray's stubs do not list it
        for name in PORT_NAMES:
            persist_port(values["--session_dir"], values["--node_id"], getattr(_raylet, name), NO_PORT)
        cat = f"{AGENT_COMMAND}{shutil.which('cat')}"
        changed = [cat if option.startswith(AGENT_COMMAND) else option for option in command]
        return start(changed, process_type, *more, **options)

    return started
