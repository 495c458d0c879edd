"""What happens on a cluster that scales; a process of its own, because a process joins one Ray at a time.

`python scaling.py ADDRESS` prints one JSON object.
"""

from __future__ import annotations

import json
import logging
import sys
import time

import ray

from mixproof.pipeline.cluster import submitted, waiting
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.resources import Needs

SCALE_DOWN_SECONDS = 90


class WarnedError(Exception):
    """The command has warned. SIGINT would not end the stage if a background shell, which ignores it, runs the test."""


class StopAtWarning(logging.Handler):
    """End the stage that warns."""

    def emit(self, record: logging.LogRecord) -> None:
        """Called by `logging`."""
        raise WarnedError(record.getMessage())


def node_of(number: int) -> tuple[int, str]:
    """The call's number and the node that ran it."""
    time.sleep(0.2)
    return number, ray.get_runtime_context().get_node_id()


def workers() -> int:
    """How many nodes with CPUs the cluster has now."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]  # half of Ray is typed
    return sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in nodes)


def main(address: str) -> None:
    """Documents, a proxy, idle nodes, and a task that fits on no node."""
    logging.getLogger(submitted.__name__).addHandler(StopAtWarning())
    found: dict[str, object] = {}
    with Cluster(address=address) as cluster:
        documents = cluster.run(node_of, [(number,) for number in range(8)], label="documents")
        [(_, proxy)] = cluster.run(node_of, [(0,)], label="proxy", needs=[Needs(1, 8)])
        found["numbers"] = [number for number, _ in documents]
        found["nodes_of_documents"] = len({node for _, node in documents})
        found["proxy_has_a_node_of_its_own"] = proxy not in {node for _, node in documents}
        waiting.FIRST_WARNING_SECONDS = 5
        try:
            cluster.run(node_of, [(0,)], label="large proxy", needs=[Needs(1, 64)])
        except WarnedError as warning:
            found["warning"] = str(warning)
        end = time.monotonic() + SCALE_DOWN_SECONDS
        while workers() and time.monotonic() < end:
            time.sleep(0.5)
        found["workers_when_idle"] = workers()
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
