"""Start a local Ray without the services that nobody uses there.

With `include_dashboard=False` Ray still starts the dashboard's server for usage statistics, an autoscaler's monitor and
a log monitor. The three take 2.4 CPU seconds and delay every start. Nobody looks at the dashboard of a command, a local
Ray does not scale, and workers' logs are read from their files. Ray has no options to leave them out, so the methods of
its node that start them are replaced while it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ray._private.node import Node


@contextmanager
def without_unused_services() -> Iterator[None]:
    """Leave the three out of a Ray that starts inside this block; a Ray without these methods starts as it does."""
    replacements: dict[str, Callable[..., None]] = {
        "start_monitor": _start_nothing,
        "start_log_monitor": _start_nothing,
        "start_api_server": _no_address,
    }
    originals = {name: getattr(Node, name, None) for name in replacements}
    if not all(originals.values()):
        yield
        return
    try:
        for name, replacement in replacements.items():
            setattr(Node, name, replacement)
        yield
    finally:
        for name, original in originals.items():
            setattr(Node, name, original)


def _start_nothing(node: Any) -> None:  # noqa: ANN401  Ray's node, which is not typed
    """Stand in for a method that starts a process."""


def _no_address(node: Any, **_: object) -> None:  # noqa: ANN401  Ray's node, which is not typed
    """Stand in for the method that starts the dashboard and remembers its address."""
    node._webui_url = ""
