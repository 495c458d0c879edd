"""Which commands work here, and what the others need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .extras import Extra

NEEDS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("plan, build, inspect, compare, diff, trace, store", (), ()),
    ("build with filters, languages or WARC files", (), ("documents",)),
    ("train, audit, run, search, demo", (), ("train",)),
    ("train with external.tasks", ("train",), ("lm-eval",)),
    ("train with --wandb", ("train",), ("wandb",)),
    ("search with the predictor lightgbm", ("train",), ("search",)),
    ("export", ("train",), ("export",)),
    ("a store or files at s3://", (), ("s3",)),
)
"""Commands, the extras that they share with others, and extras of their own."""


@dataclass(frozen=True)
class Readiness:
    """Whether something works here."""

    what: str
    missing: tuple[str, ...]
    """Extras to install."""

    @property
    def ready(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


def check_readiness(extras: Mapping[str, Extra]) -> list[Readiness]:
    """Say for every command whether its extras are installed."""
    return [
        Readiness(what, tuple(name for name in (*shared, *own) if not extras[name].installed))
        for what, shared, own in NEEDS
    ]
