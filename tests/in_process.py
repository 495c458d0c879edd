"""A cluster without Ray, for tests of what its tasks do: Ray takes seconds to start and is tested elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

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
