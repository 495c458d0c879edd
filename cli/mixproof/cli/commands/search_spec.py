"""`mixproof search SPEC`: train candidates in rounds, and write a spec with the mixture found.

plan > build > space within supply and caps > rounds of proxies > trained finalists > SPEC-found.yaml. The search itself
is arithmetic (mixproof.mixtures.search.rounds); its trials become runs in `search_trainer.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import typer

from mixproof.cli.before_work import open_for_work
from mixproof.cli.found_spec import FOUND, about_finalists, check_output, write_spec
from mixproof.cli.output import emit_json
from mixproof.cli.plan_checks import check_searched_supply
from mixproof.cli.progress.show import StageProgress, spec_progress
from mixproof.cli.request import Request
from mixproof.cli.tables.search_race import Raced
from mixproof.cli.tables.search_report import Searched, print_searched, searched_json
from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import Manifest
from mixproof.mixtures.blocks.search import Search
from mixproof.mixtures.load import LoadedSpec
from mixproof.mixtures.search.blas import one_blas_thread
from mixproof.mixtures.search.plan import Plan
from mixproof.mixtures.search.predictors.families import families
from mixproof.mixtures.search.race.round_stops import RoundRace
from mixproof.mixtures.search.rounds import search as search_rounds
from mixproof.mixtures.search.setup.candidate_runs import CandidateRuns
from mixproof.mixtures.search.setup.feasible import check_rounds, check_space
from mixproof.mixtures.search.setup.supply import runs_of
from mixproof.mixtures.search_checks import race_problems
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.split_sources import SplitSource
from mixproof.mixtures.values.whole_numbers import MAX_SEED
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.visible import look_before_work
from mixproof.train.compare.compare import objective_weights
from mixproof.train.compare.parts import bounds_of
from mixproof.train.compare.task_scores import PREFIX
from mixproof.train.launch.family import train_sweeps
from mixproof.train.launch.post_training import is_scored
from mixproof.train.launch.rates import swept, with_rates

from .build import run_build
from .search_trainer import SEARCH, Trainer, recall_from
from .train import print_rates


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
    proxy = _proxy(request.spec, declared)
    check_output(output, request.loaded.path)
    check_rounds(declared.rounds, declared.repeats)
    if problems := list(race_problems(request.spec, declared)):
        raise request.spec.positions.error(problems)
    _check_sources(request.spec)
    check_searched_supply(request, declared, proxy, None)


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
    tokens_of = {name: source.train.tokens for name, source in manifest.sources.items()}
    candidates = runs_of(request.spec, proxy, tokens_of, declared)
    check_space(candidates.space)
    request = replace(request, loaded=_with_rate(request, manifest, cluster, progress, proxy, candidates))
    plan = _plan(request.spec, declared, f"{SEARCH}/{manifest.build}/{proxy}", prior)
    weights = _weights(request.spec, manifest)
    trainer = Trainer(request, manifest, cluster, progress, proxy, candidates, tuple(weights), plan.seeds[0])
    with one_blas_thread():
        recall = recall_from(request.store, candidates, plan, weights)
        outcome = search_rounds(candidates.space, plan, trainer.score, weights, families(), recall)
    written = None
    if outcome.recommended is not None:
        ranked = [candidates.mixture(one.units) for one in outcome.confirmations if one.scores]
        written = write_spec(request.loaded, ranked, output, about_finalists(proxy, outcome))
    tokens = trainer.race_tokens
    raced = None if tokens is None or plan.race is None else Raced(plan.race.confidence, tokens)
    return Searched(manifest.build, proxy, candidates, outcome, tuple(trainer.runs), written, raced)


def _with_rate(
    request: Request,
    manifest: Manifest,
    cluster: Cluster,
    progress: StageProgress,
    proxy: str,
    candidates: CandidateRuns,
) -> LoadedSpec:
    """Replace a sweep of the proxy's learning rate by the best one, which all candidates then use."""
    spec = request.spec
    train = spec.train.model_copy(update={"proxies": {proxy: spec.train.proxies[proxy]}})
    swept_spec = spec.model_copy(update={"train": train})
    if not swept(swept_spec):
        return request.loaded
    need = candidates.draw_tokens()
    chosen = train_sweeps(swept_spec, manifest, request.store, cluster, need, on_progress=progress.runs)
    print_rates(chosen)
    return replace(request.loaded, spec=with_rates(spec, chosen))


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
        repeated=declared.repeated,
        race=None if declared.race is None else RoundRace(declared.race.rungs, declared.race.confidence),
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
