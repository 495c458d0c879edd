"""A cluster and builds without Ray, for tests of what tasks do: Ray takes seconds to start and is tested elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mixproof.cli.commands.build import run_build
from mixproof.cli.request import open_request
from mixproof.ledger.manifest import Manifest
from mixproof.pipeline.cluster.cluster import Cluster

T = TypeVar("T")


class InProcess(Cluster):
    """Runs every task in this process, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: Counter[str] = Counter()
        """Calls by label."""

    def run(self, function: Callable[..., T], calls: Sequence[tuple[object, ...]], **options: object) -> list[T]:
        """Results in the order of the calls."""
        self.tasks[str(options["label"])] += len(calls)
        return [function(*call) for call in calls]


def build_in(folder: Path, spec: str, cluster: Cluster | None = None, **options: Any) -> tuple[Path, Manifest]:  # noqa: ANN401
    """Write the spec into `folder`, build it into the store there; the manifest's path, and the manifest."""
    (folder / "spec.yaml").write_text(spec)
    with InProcess() as own:
        result = run_build(open_request(folder / "spec.yaml", str(folder / "store")), cluster or own, **options)
    return result.manifest_path, result.manifest
