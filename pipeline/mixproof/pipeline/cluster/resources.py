"""The resources that a call needs; in a module of its own because stating them needs no Ray."""

from __future__ import annotations

from dataclasses import dataclass

from mixproof.ledger.errors import MixproofError


@dataclass(frozen=True)
class Needs:
    """Resources that Ray reserves for one call while it runs."""

    cpus: float = 1
    gpus: float = 0
    """A fraction lets several calls share one GPU."""

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs" + (f" and {self.gpus:g} GPUs" if self.gpus else "")


class RayDiedError(MixproofError):
    """Processes of the Ray that this command started have died: no task can finish until Ray is started again."""
