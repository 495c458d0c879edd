"""`mixproof search SPEC`: train candidates in rounds, and write a spec with the mixture found.

plan > build > space within supply and caps > rounds of proxies > trained finalists > SPEC-found.yaml. The search itself
is arithmetic (mixproof.mixtures.search.rounds); this module turns its trials into runs. A candidate is named by its
shares, so that its runs are reused in any round, and all runs share one draw per source. The candidates of a round are
stored under the scores that they follow from, so that a killed search resumes with the same candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import typer
from rich.markup import escape

from mixproof.cli.before_work import open_for_work
from mixproof.cli.found_spec import FOUND, about_finalists, check_output, units_by_source, write_spec
from mixproof.cli.output import emit_json, stderr
from mixproof.cli.progress.show import StageProgress, spec_progress
from mixproof.cli.request import Request
from mixproof.cli.search_report import Searched, print_searched, searched_json
from mixproof.cli.task_objective import benchmarks_of_tasks
from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import sha256_of, stage_key
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.mixture import Mixture
from mixproof.mixtures.blocks.search import Search
from mixproof.mixtures.load import LoadedSpec
from mixproof.mixtures.search.blas import one_blas_thread
from mixproof.mixtures.search.feasible import check_rounds, check_space
from mixproof.mixtures.search.outcome import Measured, Trial, Units
from mixproof.mixtures.search.predictors.families import families
from mixproof.mixtures.search.rounds import Plan
from mixproof.mixtures.search.rounds import search as search_rounds
from mixproof.mixtures.search.space import Space, exact_shares
from mixproof.mixtures.search.supply import draw_tokens, space_of
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.split_sources import SplitSource
from mixproof.mixtures.values.whole_numbers import MAX_SEED
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.visible import look_before_work
from mixproof.train.compare.compare import objective_weights
from mixproof.train.compare.parts import bounds_of
from mixproof.train.compare.ranked_score import ranked_score
from mixproof.train.compare.task_scores import PREFIX, TaskScore
from mixproof.train.evaluate.external import score_external
from mixproof.train.evaluate.task_results import read_task_scores
from mixproof.train.launch.family import train_all, train_sweeps
from mixproof.train.launch.post_training import is_scored
from mixproof.train.launch.rates import swept, with_rates
from mixproof.train.outcome import RunOutcome

from .build import run_build
from .train import print_rates

SEARCH = "search"
SEARCH_VERSION = 4
"""Increment when the same scores would lead to different candidates."""
CANDIDATES = "candidates.json"


@dataclass(frozen=True)
class SearchOptions:
    """Options of the command line."""

    given: Mapping[str, Any]
    """Options that replace values of the block `search`, by its keys."""
    prior: float
    output: Path | None
    store: str
    address: str | None
    workers: int | None
    as_json: bool


def search_spec(path: Path, options: SearchOptions) -> None:
    """Search for the best mixture of a spec; exit code 1 when none is recommended."""
    request = open_for_work(path, options.store, "search")
    declared = (request.spec.search or Search()).model_copy(update=dict(options.given))
    output = options.output or found_path(path)
    check_search(request, declared, output)
    with (
        spec_progress(request.spec, request.store, "search") as progress,
        Cluster(options.address, options.workers, progress) as cluster,
    ):
        look_before_work(request.store, cluster)
        built = run_build(request, cluster)
        request = replace(request, loaded=built.loaded)
        searched = search_built(request, built.manifest, declared, output, cluster, progress, options.prior)
    if options.as_json:
        emit_json(searched_json(searched))
    else:
        print_searched(searched)
    if searched.written is None:
        raise typer.Exit(1)


def found_path(spec: Path) -> Path:
    """Where the mixture found is written, unless another file is named."""
    return spec.with_name(f"{spec.stem}-{FOUND}.yaml")


def check_search(request: Request, declared: Search, output: Path) -> None:
    """Refuse a search that cannot succeed, before any work.

    Raises:
        RequestError, SpecError: naming the option or key.
    """
    _proxy(request.spec, declared)
    check_output(output, request.loaded.path)
    check_rounds(declared.rounds, declared.repeats)
    _check_sources(request.spec)


def search_built(
    request: Request,
    manifest: Manifest,
    declared: Search,
    output: Path,
    cluster: Cluster,
    progress: StageProgress,
    prior: float = 0.0,
) -> Searched:
    """Search on a finished build; writes a spec if a mixture is recommended.

    Args:
        request: with the parts of split sources.
        manifest: of its build.
        declared: rounds, seeds and proxy.
        output: of the spec with the mixture found.
        cluster: that trains the candidates.
        progress: that shows their runs.
        prior: score that a KL divergence of one nat from the proportional mixture costs.
    """
    proxy = _proxy(request.spec, declared)
    space = space_of(request.spec, proxy, {name: source.train.tokens for name, source in manifest.sources.items()})
    check_space(space)
    request = replace(request, loaded=_with_rate(request, manifest, cluster, progress, proxy, space))
    plan = _plan(request.spec, declared, f"{SEARCH}/{manifest.build}/{proxy}", prior)
    weights = _weights(request.spec, manifest)
    trainer = _Trainer(request, manifest, cluster, progress, proxy, space, tuple(weights))
    with one_blas_thread():
        recall = _recall(request.store, space, plan, weights)
        outcome = search_rounds(space, plan, trainer.score, weights, families(), recall)
    written = None
    if outcome.recommended is not None:
        ranked = [one.units for one in outcome.confirmations if one.scores]
        written = write_spec(request.loaded, space, ranked, output, about_finalists(proxy, outcome))
    return Searched(manifest.build, proxy, space, outcome, tuple(trainer.runs), written)


def _with_rate(
    request: Request, manifest: Manifest, cluster: Cluster, progress: StageProgress, proxy: str, space: Space
) -> LoadedSpec:
    """Replace a sweep of the proxy's learning rate by the best one, which all candidates then use."""
    spec = request.spec
    train = spec.train.model_copy(update={"proxies": {proxy: spec.train.proxies[proxy]}})
    swept_spec = spec.model_copy(update={"train": train})
    if not swept(swept_spec):
        return request.loaded
    need = draw_tokens(spec, proxy, space)
    chosen = train_sweeps(swept_spec, manifest, request.store, cluster, need, on_progress=progress.runs)
    print_rates(chosen)
    return replace(request.loaded, spec=with_rates(spec, chosen))


class _Trainer:
    """Measures trials by training them."""

    def __init__(
        self,
        request: Request,
        manifest: Manifest,
        cluster: Cluster,
        progress: StageProgress,
        proxy: str,
        space: Space,
        parts: tuple[str, ...],
    ) -> None:
        self._request, self._manifest, self._cluster, self._progress = request, manifest, cluster, progress
        self._proxy, self._space, self._parts = proxy, space, parts
        self._benchmarks = benchmarks_of_tasks(request)
        self._least_tokens = draw_tokens(request.spec, proxy, space)
        self.runs: list[RunOutcome] = []
        """Every run of the search, in order."""

    def score(self, trials: Sequence[Trial]) -> list[tuple[float, ...] | None]:
        """Train the trials without a run; return the objective sources' bits per byte, None for a failed run."""
        scores: dict[Trial, tuple[float, ...] | None] = {}
        seeds_of: dict[Units, list[int]] = {}
        for trial in trials:
            seeds_of.setdefault(trial.units, []).append(trial.seed)
        for seeds in dict.fromkeys(tuple(seeds) for seeds in seeds_of.values()):
            mixtures = {
                candidate_name(self._space, units): units for units, own in seeds_of.items() if tuple(own) == seeds
            }
            outcomes = self._train(mixtures, seeds)
            tasks = self._score_tasks(outcomes)
            for outcome in outcomes:
                self.runs.append(outcome)
                scores[Trial(mixtures[outcome.mixture], outcome.seed)] = self._parts_of(
                    outcome, tasks.get(outcome.key, {})
                )
        return [scores[trial] for trial in trials]

    def _train(self, mixtures: Mapping[str, Units], seeds: tuple[int, ...]) -> list[RunOutcome]:
        spec = self._request.spec
        shares = {name: exact_shares(self._space.sources, units) for name, units in mixtures.items()}
        train = spec.train.model_copy(
            update={"proxies": {self._proxy: spec.train.proxies[self._proxy]}, "seeds": seeds}
        )
        declared = {name: Mixture(shares=own) for name, own in shares.items()}
        family = spec.model_copy(update={"mixtures": declared, "train": train})
        return train_all(
            family,
            self._manifest,
            self._request.store,
            self._cluster,
            least_tokens=self._least_tokens,
            on_progress=self._progress.runs,
        )

    def _parts_of(self, outcome: RunOutcome, tasks: Mapping[str, TaskScore]) -> tuple[float, ...] | None:
        if not outcome.done or outcome.record is None:
            name = f"{outcome.mixture} × {outcome.proxy} × seed {outcome.seed}"
            stderr.print(f"[bold red]failed:[/] {name}: {escape(str(outcome.reason))}", soft_wrap=True)
            return None
        heldout, score = outcome.record.heldout, ranked_score(self._request.spec.objective)
        values = [tasks[name].value if name in tasks else score.of(heldout[name]) for name in self._parts]
        return tuple(value for value in values if value is not None)  # every set has bits per byte or the default

    def _score_tasks(self, outcomes: Sequence[RunOutcome]) -> dict[str, dict[str, TaskScore]]:
        """Score finished runs on the tasks of the objective, by the run's key and by part."""
        objective, store = self._request.spec.objective, self._request.store
        if objective is None or not objective.tasks:
            return {}
        score_external(outcomes, self._benchmarks, store, self._cluster)
        return read_task_scores(outcomes, self._benchmarks, store, objective.tasks)


def candidate_name(space: Space, units: Units) -> str:
    """Name a candidate by its shares, so that every round finds the same runs."""
    return f"candidate-{sha256_of(units_by_source(space, units))[:12]}"


def _recall(
    store: Store, space: Space, plan: Plan, weights: Mapping[str, float]
) -> Callable[[int, Sequence[Measured], Callable[[], list[Units]]], list[Units]]:
    """Keep the candidates of each round in the store, under a key of everything that they follow from."""

    def recall(number: int, measured: Sequence[Measured], make: Callable[[], list[Units]]) -> list[Units]:
        config = {
            "name": plan.name,
            "rounds": plan.rounds,
            "seeds": plan.seeds,
            "number": number,
            "families": sorted(families()),
            "weights": {name: weight.hex() for name, weight in weights.items()},
            "least_ratios": {name: ratio.hex() for name, ratio in plan.least_ratios.items()},
            "most_units": dict(zip(space.sources, space.most_units, strict=True)),
            "least_units": space.least_units,
            "center": dict(zip(space.sources, space.center, strict=True)),
        }
        scores = [
            [units_by_source(space, one.trial.units), one.trial.seed, [part.hex() for part in one.parts]]
            for one in measured
        ]
        key = stage_key(SEARCH, SEARCH_VERSION, config, scores)
        if store.receipt(SEARCH, key) is None:
            with store.attempt(SEARCH, key) as attempt:
                attempt.path(CANDIDATES).write_bytes(orjson.dumps(make()))
                attempt.commit()
        kept = orjson.loads(store.path(f"{SEARCH}/{key}/{CANDIDATES}").read_bytes())
        return [tuple(units) for units in kept]

    return recall


def _weights(spec: Spec, manifest: Manifest) -> dict[str, float]:
    """Weight of each held-out set in the objective.

    Raises:
        RequestError: when the objective names a source without a held-out set.
    """
    if spec.objective is not None and spec.objective.score is not None:
        where = spec.where("objective", "score")
        raise RequestError(f"{where}: search minimizes bits per byte or the default of the stage; use `heldout_bpb`")
    known = sorted(name for name in manifest.sources if is_scored(spec, manifest, name))
    weights = objective_weights(spec.objective, known)
    for name in weights:
        if name not in known and not name.startswith(PREFIX):
            where = spec.where("objective", "heldout_bpb", name)
            raise RequestError(f"{where}: {name} has no held-out set; choose from {', '.join(known)}")
    return weights


def _proxy(spec: Spec, declared: Search) -> str:
    known, name = list(spec.train.proxies), declared.proxy
    if name is not None and name not in known:
        raise RequestError(f"--proxy {name}: not in train.proxies; choose from {', '.join(known)}")
    return name or known[0]


def _plan(spec: Spec, declared: Search, name: str, prior: float) -> Plan:
    """Rounds and seeds: the anchor's seeds first, then as many fresh ones for the finalists."""
    seeds = _seeds(spec, 2 * declared.repeats)
    anchor, fresh = seeds[: declared.repeats], seeds[declared.repeats :]
    return Plan(
        declared.rounds,
        anchor,
        fresh,
        declared.finalists,
        prior=prior,
        name=name,
        least_ratios=bounds_of(spec.objective),
    )


def _seeds(spec: Spec, number: int) -> tuple[int, ...]:
    """The spec's first `count` seeds; if it has fewer, the next integers follow."""
    seeds = list(spec.train.seeds)[:number]
    following = max(spec.train.seeds) + 1
    if following + number > MAX_SEED:
        following = next(first for first in count(1) if not {*range(first, first + number)} & {*spec.train.seeds})
    return (*seeds, *range(following, following + number - len(seeds)))


def _check_sources(spec: Spec) -> None:
    """Refuse a spec with a single source; the parts of a split source are known only after the build."""
    if len(spec.sources) == 1 and not any(isinstance(source, SplitSource) for source in spec.sources.values()):
        (name,) = spec.sources
        where = spec.where("sources", name)
        raise RequestError(f"{where}: a search needs at least two sources, and {name} is the only one; add another")
