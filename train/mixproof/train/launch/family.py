"""Train a family of runs: finished runs reused, the others dispatched, a failing run shown and the others trained.

requests ──> finished? ──yes──> its record
│no
└──> dispatch: a Ray task a run ──> record, or the reason why there is none
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from mixproof.ledger.manifest import Manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.train.loop.trunk import in_waves
from mixproof.train.outcome import RunOutcome, outcome_of
from mixproof.train.runs_schema import RUNS_TABLE

from .dispatch import dispatch
from .plan import plan_requests
from .progress import FamilyProgress, FamilyWatch, watching
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
        store: where runs live; every worker sees it.
        cluster: runs the tasks; each has the processors and GPUs that its proxy declares.
        device: of runs whose proxy does not say; None: `cuda` where the cluster, as it is now, has a GPU.
        least_tokens: by source, what a draw must supply at least, whatever these runs need.
        wandb: project of Weights & Biases that gets the curves as well.
        on_progress: called from another thread, about once a second.

    Raises:
        RequestError: for what cannot be trained as asked, before anything is trained.
    """
    device = device or ("cuda" if cluster.gpus() else "cpu")
    requests = plan_requests(spec, manifest, store, cluster, device=device, least_tokens=least_tokens)
    finished = {request.key: outcome_of(request, reused=True) for request in requests}
    left = [request for request in requests if not finished[request.key].done]
    cluster.count(run=len(left), reused=len(requests) - len(left))
    watch = FamilyWatch(requests, [finished[request.key].done for request in requests])
    with watching(watch, on_progress if left else None):
        for wave in in_waves(left):
            watched = [request.model_copy(update={"wandb": wandb}) for request in wave]
            reasons = dispatch(watched, cluster, watch.end)
            for request, reason in zip(wave, reasons, strict=True):
                finished[request.key] = outcome_of(request, reason=reason)
    if left or not store.path(RUNS_TABLE).is_file():
        write_runs_table(store)
    return [finished[request.key] for request in requests]
