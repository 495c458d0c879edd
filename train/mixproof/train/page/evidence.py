"""What the page is made of: a comparison, and the statements that its numbers come from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mixproof.ledger.manifest import Manifest
from mixproof.train.compare.comparison import Comparison, Group
from mixproof.train.compare.facts import Axis
from mixproof.train.compare.ranking import Ranking
from mixproof.train.loop.metrics import StepMetrics
from mixproof.train.record import RunRecord

SHORT = 12
"""Digits of a key or an id that name it on the page."""


@dataclass(frozen=True)
class Statement:
    """A file that states something: a manifest, a record or a spec."""

    path: str
    text: str
    """The whole file."""

    @property
    def sha256(self) -> str:
        """Of the file's bytes."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class BuildEvidence:
    """A build that runs of the comparison were trained on."""

    manifest: Manifest
    statement: Statement
    circumstances: Mapping[str, Any]
    """When, where and with which versions it was made."""

    @property
    def id(self) -> str:
        """SHA-256 of the manifest's bytes as they lie there."""
        return self.statement.sha256

    @property
    def anchor(self) -> str:
        """Name of its place on the page."""
        return f"build-{self.id[:SHORT]}"


@dataclass(frozen=True)
class RunEvidence:
    """A run of the comparison, counted or not."""

    record: RunRecord
    statement: Statement
    metrics: tuple[StepMetrics, ...]
    circumstances: Mapping[str, Any]

    @property
    def anchor(self) -> str:
        """Name of its place on the page."""
        return f"run-{self.record.key[:SHORT]}"


@dataclass(frozen=True)
class SpecEvidence:
    """A spec that was compared."""

    name: str
    statement: Statement
    target_tokens: int | None
    """Of the big run that the proxies stand for."""
    store: str
    """Where its build and runs were found, as it was given on the command line."""


@dataclass(frozen=True)
class Missing:
    """A run that left no record."""

    mixture: str
    proxy: str
    seed: int
    reason: str


@dataclass(frozen=True)
class Evidence:
    """Everything that the page shows."""

    comparison: Comparison
    specs: tuple[SpecEvidence, ...]
    builds: tuple[BuildEvidence, ...]
    runs: tuple[RunEvidence, ...]
    missing: tuple[Missing, ...]
    mixproof: str
    """Version that wrote the page."""

    @property
    def groups(self) -> list[tuple[Group, Ranking]]:
        """Rankings of two mixtures or more, each with its group; where there is none, the first of one mixture."""
        found = [(group, ranking) for group in self.comparison.groups for ranking in group.rankings.values()]
        return [pair for pair in found if len(pair[1].rows) > 1] or found[:1]

    @property
    def rankings(self) -> list[Ranking]:
        """Those of `groups`."""
        return [ranking for _, ranking in self.groups]

    @property
    def alone(self) -> list[Ranking]:
        """Mixtures that nothing can be ranked against, and that are not in `rankings`."""
        shown = self.rankings
        found = [ranking for group in self.comparison.groups for ranking in group.rankings.values()]
        return [ranking for ranking in found if ranking not in shown]

    @property
    def across(self) -> Axis | None:
        """The axis that was allowed to differ."""
        return next((group.across for group in self.comparison.groups if group.across), None)

    def run(self, key: str) -> RunEvidence | None:
        """The run `key`; None where its record was not given."""
        return next((run for run in self.runs if run.record.key == key), None)

    def build(self, build: str) -> BuildEvidence | None:
        """The build of that id; None where its manifest was not given."""
        return next((found for found in self.builds if found.id == build), None)
