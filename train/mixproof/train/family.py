"""Train a family of runs: finished runs reused, the others dispatched, a failing run shown and the others trained.

requests ──> finished? ──yes──> its record
│no
└──> dispatch: a Ray task a run ──> record, or the reason why there is none
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from mixproof.ledger.manifest import CIRCUMSTANCES, Manifest
from mixproof.ledger.place import CHECKPOINTS
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster import Cluster

from .dispatch import dispatch
from .finished import failed_record, finished_record
from .plan import plan_requests
from .progress import FamilyProgress, FamilyWatch, watching
from .record import TRAIN, RunRecord
from .request import RunRequest
from .runs_table import RUNS_TABLE, write_runs_table
from .trunk import in_waves


@dataclass(frozen=True)
class RunOutcome:
    """How one run of the family ended."""

    mixture: str
    proxy: str
    seed: int
    key: str
    folder: str
    """Absolute path of the run's folder on this machine: the run itself, or its copy without checkpoints."""
    place: str
    """Where the run is: its folder, or a URL."""
    record: RunRecord | None
    """None where there is none; then `reason` says why. Of status `failed` where the training itself failed."""
    reason: str | None
    """Why it failed; None when it is done."""
    resumed_from_samples: int
    """Where the attempt that finished it started; 0 for the beginning."""
    reused: bool
    """Whether it was finished before this command."""

    @property
    def done(self) -> bool:
        """Whether the run went to its end."""
        return self.record is not None and self.record.status == "done"


def train_all(
    spec: Spec,
    manifest: Manifest,
    store: Store,
    cluster: Cluster,
    *,
    device: Literal["cpu", "cuda"] | None = None,
    least_tokens: Mapping[str, int] | None = None,
    on_progress: Callable[[FamilyProgress], None] | None = None,
) -> list[RunOutcome]:
    """Train every run of a spec, in the order mixtures, proxies, seeds.

    Args:
        spec: a checked spec.
        manifest: of its build.
        store: where runs live; every worker sees it.
        cluster: runs the tasks; each has the processors and GPUs that its proxy declares.
        device: of runs whose proxy does not say; None: `cuda` where this machine, or the cluster as it is now, has one.
        least_tokens: by source, what a draw must supply at least, whatever these runs need.
        on_progress: called from another thread, about once a second.

    Raises:
        RequestError: for what cannot be trained as asked, before anything is trained.
    """
    device = device or ("cuda" if torch.cuda.is_available() or cluster.gpus() else "cpu")
    requests = plan_requests(spec, manifest, store, cluster, device=device, least_tokens=least_tokens)
    finished = {request.key: outcome_of(request, reused=True) for request in requests}
    left = [request for request in requests if not finished[request.key].done]
    cluster.count(run=len(left), reused=len(requests) - len(left))
    watch = FamilyWatch(requests, [finished[request.key].done for request in requests])
    with watching(watch, on_progress if left else None):
        for wave in in_waves(left):
            reasons = dispatch(wave, cluster, watch.end)
            for request, reason in zip(wave, reasons, strict=True):
                finished[request.key] = outcome_of(request, reason=reason)
    if left or not store.path(RUNS_TABLE).is_file():
        write_runs_table(store)
    return [finished[request.key] for request in requests]


def find_outcomes(requests: Sequence[RunRequest]) -> list[RunOutcome]:
    """Look at the runs without training any."""
    return [outcome_of(request, reused=True) for request in requests]


def outcome_of(request: RunRequest, *, reason: str | None = None, reused: bool = False) -> RunOutcome:
    """Read how a run ended from its folder; `reason` is why it broke off, where it did."""
    store = Store(request.store)
    place = f"{TRAIN}/{request.key}"
    folder = store.fetch(place, without=CHECKPOINTS)
    record = finished_record(store, request) or failed_record(store, request)
    if reason is None:
        reason = "not trained yet" if record is None else record.reason
    resumed = 0
    if record is not None and (folder / CIRCUMSTANCES).is_file():
        resumed = int(json.loads((folder / CIRCUMSTANCES).read_bytes())["resumed_from_samples"])
    return RunOutcome(
        mixture=request.mixture,
        proxy=request.proxy,
        seed=request.seed,
        key=request.key,
        folder=str(folder),
        place=store.place(place),
        record=record,
        reason=reason,
        resumed_from_samples=resumed,
        reused=reused and record is not None and record.status == "done",
    )
