"""Train all runs of a spec: finished runs are reused, the others dispatched; a failing run does not stop the others.

sweeps of learning rates, if there are any, first: as families of their own
requests ──> finished? ──yes──> its record
                └──no──> dispatch: one Ray task per run ──> a record, or the reason for the failure
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from mixproof.ledger.manifest import Manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.train.evaluate.external.external import benchmarks_of_objective, score_external
from mixproof.train.loop.trunk import in_waves
from mixproof.train.outcome import RunOutcome, find_outcomes, outcome_of
from mixproof.train.request import RunRequest
from mixproof.train.runs_schema import RUNS_TABLE

from .chosen_rate import ChosenRate
from .dispatch import dispatch
from .plan import find_rates, plan_requests, tokens_needed
from .progress import FamilyProgress, FamilyWatch, watching
from .rates import sweep_families, swept
from .references import prepare_references
from .runs_table import write_runs_table


def train_all(
    spec: Spec,
    manifest: Manifest,
    store: Store,
    cluster: Cluster,
    *,
    device: Literal["cpu", "cuda"] | None = None,
    least_tokens: Mapping[str, int] | None = None,
    wandb: str | None = None,
    on_progress: Callable[[FamilyProgress], None] | None = None,
) -> list[RunOutcome]:
    """Train every run of a spec, in the order mixtures, proxies, seeds.

    Args:
        spec: a checked spec.
        manifest: of its build.
        store: where runs are stored; all workers can access it.
        cluster: runs the tasks; each gets the CPUs and GPUs that its proxy declares.
        device: of runs whose proxy does not declare GPUs; None: `cuda` if the cluster has a GPU now, else `cpu`.
        least_tokens: minimum tokens of each source's draw, even if these runs need fewer.
        wandb: Weights & Biases project that the curves are also sent to.
        on_progress: called from another thread, about once a second.

    Raises:
        RequestError: when a run cannot be trained as specified; raised before any training.
    """
    device = device or ("cuda" if cluster.gpus() else "cpu")
    if swept(spec):
        need = tokens_needed(spec, manifest, least_tokens)
        train_sweeps(spec, manifest, store, cluster, need, device=device, wandb=wandb, on_progress=on_progress)
    requests = plan_requests(spec, manifest, store, cluster, device=device, least_tokens=least_tokens)
    return _train(requests, store, cluster, wandb, on_progress)


def train_sweeps(
    spec: Spec,
    manifest: Manifest,
    store: Store,
    cluster: Cluster,
    need: Mapping[str, int],
    *,
    device: Literal["cpu", "cuda"] | None = None,
    wandb: str | None = None,
    on_progress: Callable[[FamilyProgress], None] | None = None,
) -> list[ChosenRate]:
    """Train the runs of a spec's sweeps of learning rates, and choose the rates; arguments as for `train_all`.

    Args:
        spec: see `train_all`.
        manifest: see `train_all`.
        store: see `train_all`.
        cluster: see `train_all`.
        need: minimum tokens of each source's draw, as for the spec's own runs.
        device: see `train_all`.
        wandb: see `train_all`.
        on_progress: see `train_all`.

    Raises:
        TrainingError: when the anchor failed at every rate.
    """
    device = device or ("cuda" if cluster.gpus() else "cpu")
    planned = [
        request
        for proxy in swept(spec)
        for family in sweep_families(spec, proxy).values()
        for request in plan_requests(family, manifest, store, cluster, device=device, least_tokens=need)
    ]
    requests = [one for one in planned if outcome_of(one).record is None]  # failed rates are not tried again
    if requests:
        _train(requests, store, cluster, wandb, on_progress)
    benchmarks = benchmarks_of_objective(spec, spec.folder) if planned else []
    if benchmarks:
        score_external(find_outcomes(planned), benchmarks, store, cluster)
    return find_rates(spec, manifest, store, cluster, need)


def _train(
    requests: Sequence[RunRequest],
    store: Store,
    cluster: Cluster,
    wandb: str | None,
    on_progress: Callable[[FamilyProgress], None] | None,
) -> list[RunOutcome]:
    finished = {request.key: outcome_of(request, reused=True) for request in requests}
    unfinished = [request for request in requests if not finished[request.key].done]
    cluster.count(run=len(unfinished), reused=len(requests) - len(unfinished))
    watch = FamilyWatch(requests, [finished[request.key].done for request in requests])
    with watching(watch, on_progress if unfinished else None):
        prepare_references(unfinished, cluster)
        for wave in in_waves(unfinished):
            submitted = [request.model_copy(update={"wandb": wandb}) for request in wave]
            reasons = dispatch(submitted, cluster, watch.end)
            for request, reason in zip(wave, reasons, strict=True):
                finished[request.key] = outcome_of(request, reason=reason)
    if unfinished or not store.path(RUNS_TABLE).is_file():
        write_runs_table(store)
    return [finished[request.key] for request in requests]
