"""`mixproof train`: train every mixture × proxy × seed of a spec on its build; finished runs are reused."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from rich.table import Table

from mixproof.pipeline.cluster import Cluster
from mixproof.train.requests import plan_requests
from mixproof.train.run import RunOutcome, train_all

from .options import DEFAULT_STORE, AddressOption, JsonOption, SpecPath, StoreOption, WorkersOption
from .output import StageProgress, count, emit_json, percent, stage_progress, stderr, stdout, table
from .request import Request, open_request


def train(
    spec: SpecPath,
    store: StoreOption = DEFAULT_STORE,
    address: AddressOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the proxies of SPEC on every mixture and score them on every held-out set."""
    request = open_request(spec, store)
    with stage_progress() as progress, Cluster(address, workers, progress) as cluster:
        outcomes = run_train(request, cluster, progress)
    if as_json:
        emit_json(train_json(outcomes))
    else:
        stdout.print(train_table(outcomes))
    report_failed(outcomes)


def run_train(request: Request, cluster: Cluster, progress: StageProgress) -> list[RunOutcome]:
    """Train every run of a request."""
    manifest = request.manifest()
    requests = plan_requests(request.loaded.spec, manifest, request.store, cluster)
    return train_all(requests, request.store, cluster, progress.note)


def report_failed(outcomes: Sequence[RunOutcome]) -> None:
    """Name every failed run on stderr, and end with exit code 1 when there is one."""
    failed = [outcome for outcome in outcomes if outcome.reason is not None]
    for outcome in failed:
        stderr.print(f"[bold red]failed:[/] {outcome.mixture} × {outcome.proxy} × seed {outcome.seed}: {outcome.reason}")
    if failed:
        raise typer.Exit(1)
