"""`mixproof run --race`: budgets in rungs; after each, mixtures stop that are not the best with some confidence.

Every rung is a family of runs that branch from the trunks of the rung before (`mixproof.mixtures.arithmetic.rungs`).
Decisions follow from the records of the runs, so a race that was killed resumes to the same ones: finished runs are
reused, unfinished ones resume. The runs of stopped mixtures are complete runs of their rung, audited as all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from mixproof.cli.progress.show import StageProgress
from mixproof.cli.request import Request
from mixproof.cli.task_objective import benchmarks_of_tasks
from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import Manifest
from mixproof.mixtures.arithmetic.budget import budget_run
from mixproof.mixtures.arithmetic.rungs import check_race, rung_spec, tokens_to_read, trained_tokens
from mixproof.mixtures.search.race.stops import CONFIDENCE, RUNGS, Stop, stopped_at
from mixproof.mixtures.values.quantities import parse_share
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.train.compare.comparison import Comparison
from mixproof.train.compare.race import Race, RungResult, objectives_of
from mixproof.train.compare.ranking import Ranking
from mixproof.train.evaluate.external.external import score_external
from mixproof.train.launch.family import train_all
from mixproof.train.outcome import RunOutcome

from .compare import compare_requests

DEFAULT_RUNGS = ",".join(f"{float(part):.0%}" for part in RUNGS)
DEFAULT_CONFIDENCE = f"{float(CONFIDENCE):.0%}"


@dataclass(frozen=True)
class RaceOptions:
    """Options of the command line."""

    rungs: tuple[Fraction, ...]
    """Parts of the full budget, ascending, below 1."""
    confidence: Fraction


@dataclass(frozen=True)
class Raced:
    """The results of a race."""

    race: Race | None
    """None if a run failed; nothing was then stopped at its rung."""
    outcomes: list[RunOutcome]
    """Every run, in the order of the rungs."""
    comparison: Comparison
    """Of the last rung that compared at least two mixtures; with the race in its notes."""


def race_options(race: bool, rungs: str | None, confidence: str | None) -> RaceOptions | None:
    """Read the options of a race; None without `--race`.

    Raises:
        RequestError: when an option is wrong, or given without `--race`.
    """
    if not race:
        if rungs is not None or confidence is not None:
            raise RequestError("--rungs and --confidence need --race")
        return None
    try:
        parts = tuple(parse_share(part.strip()) for part in (rungs or DEFAULT_RUNGS).split(","))
    except ValueError:
        parts = ()
    if not parts or list(parts) != sorted(set(parts)) or not (parts[0] > 0 and parts[-1] < 1):
        raise RequestError(f"--rungs {rungs}: give ascending shares of the tokens below 100%, such as {DEFAULT_RUNGS}")
    try:
        sure = parse_share(confidence or DEFAULT_CONFIDENCE)
    except ValueError:
        sure = Fraction(0)
    if not Fraction(1, 2) <= sure < 1:
        raise RequestError(f"--confidence {confidence}: give a share from 50% to below 100%, such as 95%")
    return RaceOptions(parts, sure)


def run_race(
    request: Request,
    manifest: Manifest,
    cluster: Cluster,
    progress: StageProgress,
    options: RaceOptions,
    device: Literal["cpu", "cuda"] | None = None,
    wandb: str | None = None,
) -> Raced:
    """Race the mixtures of a spec on its build.

    Raises:
        RequestError, SpecError: when a run cannot be trained as specified.
    """
    racing = _Racing(request, manifest, cluster, progress, options.rungs, device, wandb)
    left, rungs, noise = list(request.spec.mixtures), list[RungResult](), None
    parts = (*options.rungs, Fraction(1))
    for number, part in enumerate(parts, start=1):
        ranking, trained = racing.rung(parts[:number], left)
        if ranking is None:
            return racing.ended(None)
        stops: dict[str, Stop] = {}
        if part < 1:
            stops, noise = stopped_at(objectives_of(ranking), number, options.rungs, options.confidence, noise)
        rungs.append(RungResult(part, tuple(row.mixture for row in ranking.rows), trained, stops))
        left = [name for name in left if name not in stops]
        if len(left) == 1:
            break
    return racing.ended(Race(options.confidence, tuple(rungs), racing.full_tokens()))


class _Racing:
    """A race in progress."""

    def __init__(
        self,
        request: Request,
        manifest: Manifest,
        cluster: Cluster,
        progress: StageProgress,
        rungs: Sequence[Fraction],
        device: Literal["cpu", "cuda"] | None,
        wandb: str | None,
    ) -> None:
        self._request, self._manifest, self._cluster, self._progress = request, manifest, cluster, progress
        self._device, self._wandb = device, wandb
        self._proxy = check_race(request.spec)
        self._tokens_of = {name: source.train.tokens for name, source in manifest.sources.items()}
        self._least_tokens: Mapping[str, int] = tokens_to_read(request.spec, self._tokens_of, rungs)
        self._outcomes: list[RunOutcome] = []
        self._comparison: Comparison | None = None

    def rung(self, parts: Sequence[Fraction], left: Sequence[str]) -> tuple[Ranking | None, int]:
        """Train the mixtures that are left to the last of the parts.

        Returns:
            Their ranking, None if a run failed or does not count; and the tokens that were trained.
        """
        spec = rung_spec(self._request.spec, self._tokens_of, parts, left)
        request = replace(self._request, loaded=self._request.loaded.with_parts(spec))
        outcomes = train_all(
            spec,
            self._manifest,
            request.store,
            self._cluster,
            device=self._device,
            least_tokens=self._least_tokens,
            wandb=self._wandb,
            on_progress=self._progress.runs,
        )
        self._outcomes += outcomes
        score_external(outcomes, benchmarks_of_tasks(request), request.store, self._cluster)
        self._comparison = compare_requests([request], [outcomes])
        records = [one.record for one in outcomes if one.done and one.record is not None]
        rankings = self._comparison.groups[0].rankings if self._comparison.groups else {}
        ranking = rankings.get(self._proxy)
        if len(records) < len(outcomes) or ranking is None or len(ranking.rows) < len(left):
            return None, 0
        trained = [trained_tokens([phase.samples for phase in one.phases], one.sequence_length) for one in records]
        return ranking, sum(trained)

    def full_tokens(self) -> int:
        """Tokens of all mixtures and seeds at the full budget."""
        spec = self._request.spec
        planned = [budget_run(spec, name, self._proxy, self._tokens_of).tokens_planned for name in spec.mixtures]
        return len(spec.train.seeds) * sum(planned)

    def ended(self, race: Race | None) -> Raced:
        """The results, with the race in the notes of the comparison."""
        assert self._comparison is not None
        notes = self._comparison.notes if race is None else (*self._comparison.notes, race.in_words())
        return Raced(race, self._outcomes, replace(self._comparison, notes=notes))
