"""The resources that a call needs and a node has; in a module of its own because stating them needs no Ray."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mixproof.ledger.errors import MixproofError

GPU_TASKS_LABEL = ("mixproof-tasks", "gpu")
"""Label of nodes that run only calls that need a GPU, so that documents neither start nor occupy expensive nodes."""

MEMORY_SHARES = (0.5, 1.0)
"""Shares of the largest node's memory that are reserved for a call after its first and its second death."""


@dataclass(frozen=True)
class Needs:
    """Resources that Ray reserves for one call while it runs."""

    cpus: float = 1
    gpus: float = 0
    """A fraction lets several calls share one GPU."""
    workers: int = 0
    """The call starts this many workers itself, perhaps on several nodes, and each gets the resources instead of it."""
    memory_bytes: int = 0

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPUs" if self.gpus else ""
        memory = f" and {self.memory_bytes / 1e9:.1f} GB of memory" if self.memory_bytes else ""
        return f"{self.cpus:g} CPUs{gpus}{memory}"

    def total(self) -> Needs:
        """The resources of the call and of all workers that it starts, as those of one call."""
        times = max(1, self.workers)
        return Needs(self.cpus * times, self.gpus * times)


@dataclass(frozen=True)
class Node:
    """All resources of a node, used or not."""

    cpus: float = 0
    gpus: float = 0
    memory_bytes: float = 0
    gpu_tasks_only: bool = False
    """Whether it has the label GPU_TASKS_LABEL."""
    id: str = ""

    def capacity(self, need: Needs) -> int:
        """Number of calls with these needs, or of workers that one of them starts, that the empty node runs at once."""
        if (self.gpu_tasks_only and not need.gpus) or need.memory_bytes > self.memory_bytes:
            return 0
        shares = [have / wants for have, wants in ((self.cpus, need.cpus), (self.gpus, need.gpus)) if wants]
        return int(min(shares, default=1))

    def __str__(self) -> str:
        return f"{Needs(self.cpus, self.gpus)}{', for GPU tasks only' if self.gpu_tasks_only else ''}"


def can_run(need: Needs, nodes: Iterable[Node]) -> bool:
    """Whether these nodes, if they were empty, could run a call, with all workers that it starts."""
    return sum(node.capacity(need) for node in nodes) >= max(1, need.workers)


def with_more_memory(need: Needs, deaths: int, nodes: Iterable[Node]) -> Needs:
    """What a call needs after its worker died `deaths` times: a share of the largest node among those that can run it.

    A head may have the most memory and take no calls, so it must not set the share.
    """
    fitting = [node for node in nodes if node.capacity(need)]
    if not fitting:
        return need
    share, largest = MEMORY_SHARES[deaths - 1], max(fitting, key=lambda node: node.memory_bytes)
    cpus = max(need.cpus, int(share * largest.cpus))
    return replace(need, cpus=cpus, memory_bytes=int(share * largest.memory_bytes))


class RayDiedError(MixproofError):
    """Processes of the Ray that this command started have died: no task can finish until Ray is started again."""


class SilentHeadError(MixproofError):
    """The head of a cluster does not answer."""

    leaves_threads = True
