"""What Ray sets aside for one call of a task; apart, because asking for it needs no Ray."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Needs:
    """What Ray sets aside for one call while it runs."""

    cpus: float = 1
    gpus: float = 0
    """A fraction lets several calls share a GPU."""

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs" + (f" and {self.gpus:g} GPUs" if self.gpus else "")
