"""A cluster that is none: calls run in this process, so that its CPU seconds are all there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mixproof.pipeline.cluster.cluster import Cluster


class Inline(Cluster):
    """Runs the calls one after the other in this process; no Ray."""

    def run(self, function: Callable[..., Any], calls: Sequence[tuple[object, ...]], **_: Any) -> list[Any]:  # noqa: ANN401
        """Call `function` for each of `calls` and add up the seconds by its name."""
        begin = time.process_time()
        results = [function(*call) for call in calls]
        name = function.__name__
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - begin
        return results

    seconds: dict[str, float]


def peak_bytes() -> int:
    """The largest resident set that this process has had, by Linux.

    Not `getrusage`, which begins with that of the process that started this one.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024
