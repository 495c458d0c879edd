"""What a Ray task returned, or its error in words."""

from __future__ import annotations

import pytest
import ray
from ray.exceptions import RuntimeEnvSetupError

from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.results import SetupError, reason, result_of

NO_SPACE = """Failed to create runtime env for job 01000000, error message: Traceback (most recent call last):
  File "/ray/_private/runtime_env/agent/runtime_env_agent.py", line 88, in close
    super().close()
OSError: [Errno 28] No space left on device
)
"""


def double(number: int) -> int:
    return 2 * number


def test_of_a_traceback_of_ray_only_its_error_is_shown() -> None:
    assert reason(RuntimeEnvSetupError(NO_SPACE)) == "OSError: [Errno 28] No space left on device"


def test_other_errors_of_ray_are_shown_whole_on_one_line() -> None:
    assert reason(RuntimeEnvSetupError("no agent\n  on the node")) == (
        "Failed to set up runtime environment. no agent on the node"
    )


def test_a_node_that_cannot_start_a_worker_is_an_error_of_its_own(cluster: Cluster) -> None:
    assert cluster.run(double, [(2,)], label="started") == [4]
    reference = ray.remote(double).options(runtime_env={"conda": "no-such-environment"}).remote(1)
    with pytest.raises(SetupError, match=r"^read: a node could not start a worker \(.*see whether the disk") as error:
        result_of(reference, "read")
    assert "\n" not in str(error.value)
