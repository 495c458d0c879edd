"""The input of the page: a comparison, and the files that its numbers come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mixproof.tokenize.page.build_evidence import SHORT, BuildEvidence, Statement
from mixproof.train.compare.comparison import Comparison, Group
from mixproof.train.compare.facts import Axis
from mixproof.train.compare.ranking import Ranking
from mixproof.train.loop.metrics import StepMetrics
from mixproof.train.record import RunRecord


@dataclass(frozen=True)
class RunEvidence:
    """A run in the comparison, whether it counts or not."""

    record: RunRecord
    statement: Statement
    metrics: tuple[StepMetrics, ...]
    circumstances: Mapping[str, Any]

    @property
    def anchor(self) -> str:
        """HTML id of its section."""
        return f"run-{self.record.key[:SHORT]}"


@dataclass(frozen=True)
class SweepEvidence:
    """A sweep that chose the learning rate of one proxy."""

    proxy: str
    sentence: str
    """The choice in words."""
    warnings: tuple[str, ...]
    lr: str
    """The chosen rate."""
    seeds: int
    """Of each rate."""
    objective_of: Mapping[str, Mapping[str, float | None]]
    """By mixture and rate, the mean over seeds, lower is better; None: a run failed."""


@dataclass(frozen=True)
class SpecEvidence:
    """A spec in the comparison."""

    name: str
    statement: Statement
    target_tokens: int | None
    """Tokens of the target run that the proxies represent."""
    store: str
    """The store of its build and runs, as given on the command line."""
    sweeps: tuple[SweepEvidence, ...] = ()


@dataclass(frozen=True)
class Missing:
    """A run without a record."""

    mixture: str
    proxy: str
    seed: int
    reason: str


@dataclass(frozen=True)
class SearchEvidence:
    """What a search for a mixture found, in words."""

    headline: str
    sentence: str
    """The recommended mixture, or why there is none."""


@dataclass(frozen=True)
class Evidence:
    """All input of the page."""

    comparison: Comparison
    specs: tuple[SpecEvidence, ...]
    builds: tuple[BuildEvidence, ...]
    runs: tuple[RunEvidence, ...]
    missing: tuple[Missing, ...]
    mixproof: str
    """Version of mixproof that writes the page."""
    search: SearchEvidence | None = None
    """None for a spec without a search."""

    @property
    def groups(self) -> list[tuple[Group, Ranking]]:
        """Rankings of at least two mixtures, each with its group; if there are none, the first with one mixture."""
        found = [(group, ranking) for group in self.comparison.groups for ranking in group.rankings.values()]
        return [pair for pair in found if len(pair[1].rows) > 1] or found[:1]

    @property
    def rankings(self) -> list[Ranking]:
        """The rankings in `groups`."""
        return [ranking for _, ranking in self.groups]

    @property
    def alone(self) -> list[Ranking]:
        """Rankings that are not in `rankings`: mixtures with nothing to be ranked against."""
        shown = self.rankings
        found = [ranking for group in self.comparison.groups for ranking in group.rankings.values()]
        return [ranking for ranking in found if ranking not in shown]

    @property
    def across(self) -> Axis | None:
        """The axis that was allowed to differ."""
        return next((group.across for group in self.comparison.groups if group.across), None)

    def run(self, key: str) -> RunEvidence | None:
        """The run with this key; None if its record was not given."""
        return next((run for run in self.runs if run.record.key == key), None)

    def build(self, build: str) -> BuildEvidence | None:
        """The build with this id; None if its manifest was not given."""
        return next((found for found in self.builds if found.id == build), None)
