"""`mixproof ladder SPEC`: build, train every size and token budget, audit the runs, and predict the target.

Finished runs are reused. A run that failed, or whose audit fails, is left out and listed; the others still predict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import typer
from rich.markup import escape

from mixproof.cli.before_work import open_for_work
from mixproof.cli.output import emit_json, stdout
from mixproof.cli.progress.show import spec_progress
from mixproof.cli.tables.ladder_report import any_predicted, forecasts_json, print_forecasts
from mixproof.ledger.errors import MixproofError
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.split_sources import SplitSource
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.visible import look_before_work
from mixproof.train.audit.run import audit_run
from mixproof.train.evaluate.external.external import ExternalScores, find_external, score_external
from mixproof.train.evaluate.external.external_results import Benchmark
from mixproof.train.evaluate.external.external_tasks import TaskFolder
from mixproof.train.ladder.audited_runs import ladder_runs, score_names
from mixproof.train.ladder.declared_runs import check_chains, check_ladder
from mixproof.train.ladder.ladder import Target, predict_scores
from mixproof.train.outcome import RunOutcome
from mixproof.train.record import RUN, RunRecord

from .audit import audit_request, print_report
from .build import run_build
from .ladder import read_chains
from .train import report_failed, run_train


@dataclass(frozen=True)
class LadderOptions:
    """Options of the command line."""

    store: str
    address: str | None
    workers: int | None
    device: Literal["cpu", "cuda"] | None
    as_json: bool


def ladder_spec(path: Path, target: Target, chain: Sequence[str], options: LadderOptions) -> None:
    """Predict the target from the runs of a spec; exit code 1 if no score can be predicted or a run failed."""
    outcomes, external = _train(path, chain, options)
    records, faults = _audited(outcomes)
    by_run = {one.run: {**one.sets, **one.tasks} for one in external}
    runs = ladder_runs(records, by_run)
    names = score_names(runs)
    chains = read_chains(chain, names)
    forecasts = {mixture: predict_scores(own, names, target, chains) for mixture, own in runs.items()}
    if options.as_json:
        stated = {"count": len(records), "audited": True, "keys": [record.key for record in records], "faults": faults}
        emit_json({**forecasts_json(target, forecasts), "runs": stated})
    else:
        print_forecasts(target, forecasts)
        stdout.print(f"{len(records)} audited runs; parameters are counted without the embedding", soft_wrap=True)
        for key, fault in faults.items():
            stdout.print(f"[bold red]left out:[/] run {key[:12]}: {escape(fault)}", soft_wrap=True)
    if report_failed(outcomes) or faults or not any_predicted(forecasts):
        raise typer.Exit(1)


def _train(path: Path, chain: Sequence[str], options: LadderOptions) -> tuple[list[RunOutcome], list[ExternalScores]]:
    request = open_for_work(path, options.store, "run")
    check_ladder(request.spec)
    sets_and_tasks = find_external(request.spec, request.loaded.base)
    _check_chains(request.loaded.as_written, chain, sets_and_tasks)
    with (
        spec_progress(request.spec, request.store, "run") as progress,
        Cluster(options.address, options.workers, progress) as cluster,
    ):
        look_before_work(request.store, cluster)
        request = replace(request, loaded=run_build(request, cluster).loaded)
        report = audit_request(request, "bytes", cluster)
        if not report.ok:
            print_report(report)
            raise MixproofError("the audit failed, so nothing was trained; repair or delete the files listed above")
        outcomes = run_train(request, cluster, progress, options.device)
        return outcomes, score_external(outcomes, sets_and_tasks, request.store, cluster)


def _check_chains(spec: Spec, chain: Sequence[str], sets_and_tasks: Sequence[Benchmark]) -> None:
    """Check the names in `--chain`, unless a source is divided, whose parts are known only after the build."""
    if any(isinstance(source, SplitSource) for source in spec.sources.values()):
        return
    names = [one.names if isinstance(one, TaskFolder) else (one.name,) for one in sets_and_tasks]
    check_chains(chain, [*spec.sources, *(name for own in names for name in own)])


def _audited(outcomes: Sequence[RunOutcome]) -> tuple[list[RunRecord], dict[str, str]]:
    """Records of the runs whose audit passes, and the first fault of each other one by its key."""
    records, faults = [], {}
    for outcome in outcomes:
        if not outcome.done or outcome.record is None:
            continue
        report = audit_run(Path(outcome.folder) / RUN, "arithmetic", compared=True)
        if report.ok:
            records.append(outcome.record)
        else:
            faults[outcome.key] = str(report.failures[0])
    return records, faults
