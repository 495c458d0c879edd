"""`mixproof train`: train every mixture × proxy × seed of a spec on its build; reuses finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import typer
from rich.markup import escape
from rich.table import Table

from mixproof.cli.before_work import open_for_work
from mixproof.cli.fim_rates import fim_table
from mixproof.cli.options import (
    DEFAULT_STORE,
    AddressOption,
    DeviceOption,
    JsonOption,
    QuietOption,
    SpecPath,
    StoreOption,
    VerboseOption,
    WandbOption,
    WorkersOption,
)
from mixproof.cli.output import count, emit_json, percent, print_labelled, stderr, stdout, table
from mixproof.cli.phases_table import delivered_phases, delivered_phases_json, print_held_out_length
from mixproof.cli.progress.show import StageProgress, spec_progress
from mixproof.cli.request import Request
from mixproof.cli.tables.external_tables import print_external
from mixproof.cli.tables.heldout_tables import heldout_tables
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.visible import look_before_work
from mixproof.train.data.saved_index import INDEX_FOLDER
from mixproof.train.data.window_use import WindowUse, window_use
from mixproof.train.evaluate.external.external import ExternalScores, find_external, score_external
from mixproof.train.launch.chosen_rate import ChosenRate
from mixproof.train.launch.family import train_all
from mixproof.train.launch.plan import chosen_rates
from mixproof.train.loop.weights_and_biases import check_wandb
from mixproof.train.outcome import INTERRUPTED, RunOutcome
from mixproof.train.record import RunRecord
from mixproof.train.score_record import AttributeScore


def train(
    spec: SpecPath,
    store: StoreOption = DEFAULT_STORE,
    address: AddressOption = None,
    workers: WorkersOption = None,
    device: DeviceOption = None,
    wandb: WandbOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Train the proxies of SPEC on every mixture, and score them on every held-out set."""
    check_wandb(wandb)
    request = open_for_work(spec, store, "train")
    sets_and_tasks = find_external(request.spec, request.loaded.base)
    with (
        spec_progress(request.spec, request.store, "train") as progress,
        Cluster(address, workers, progress) as cluster,
    ):
        look_before_work(request.store, cluster)
        outcomes = run_train(request, cluster, progress, device, wandb)
        external = score_external(outcomes, sets_and_tasks, request.store, cluster)
    if as_json:
        rates = [one.to_json() for one in chosen_rates(request.spec, request.manifest(), request.store)]
        emit_json(train_json(outcomes, external) | ({"rates": rates} if rates else {}))
    else:
        stdout.print(delivered_table(outcomes))
        print_left_out(outcomes)
        if (phases := delivered_phases(first_seeds(outcomes))) is not None:
            stdout.print(phases)
            print_held_out_length(request.spec.train.sequence_length)
        if (fim := fim_table(first_seeds(outcomes))) is not None:
            stdout.print(fim)
        for shown in heldout_tables(outcomes):
            stdout.print(shown)
        print_external(outcomes, external)
    if report_failed(outcomes):
        raise typer.Exit(1)


def run_train(
    request: Request,
    cluster: Cluster,
    progress: StageProgress,
    device: Literal["cpu", "cuda"] | None = None,
    wandb: str | None = None,
) -> list[RunOutcome]:
    """Train every run of a request, after the sweeps of learning rates, if there are any."""
    spec, manifest, store = request.spec, request.manifest(), request.store
    outcomes = train_all(spec, manifest, store, cluster, device=device, wandb=wandb, on_progress=progress.runs)
    print_rates(chosen_rates(spec, manifest, store))
    return outcomes


def print_rates(chosen: Sequence[ChosenRate]) -> None:
    """Print the chosen learning rates on stderr, with reasons to doubt them."""
    for one in chosen:
        stderr.print(escape(one.sentence), soft_wrap=True)
        for warning in one.warnings:
            stderr.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)


def print_left_out(outcomes: Sequence[RunOutcome]) -> None:
    """Print which tokens of conversations no window holds, once for each mixture, proxy and source."""
    shown: set[tuple[str, str]] = set()
    for outcome in outcomes:
        run = (outcome.mixture, outcome.proxy)
        if run in shown or outcome.record is None or not outcome.done:
            continue
        shown.add(run)
        for name, left in _use_of(outcome, outcome.record).left_out.items():
            if left.tokens:
                text = f"{outcome.mixture} × {outcome.proxy}, {name}: {count(left.tokens)} tokens of "
                print_labelled("left out", f"{text}{count(left.documents)} conversations are in no window")


def report_failed(outcomes: Sequence[RunOutcome]) -> bool:
    """Print every run that is not done on stderr, failed or interrupted; return whether there is one."""
    unfinished = [outcome for outcome in outcomes if not outcome.done]
    for outcome in unfinished:
        name = f"{outcome.mixture} × {outcome.proxy} × seed {outcome.seed}"
        reason = str(outcome.reason)
        state = "interrupted" if outcome.interrupted else "failed"
        stderr.print(f"[bold red]{state}:[/] {name}: {escape(reason.removeprefix(INTERRUPTED))}", soft_wrap=True)
    return bool(unfinished)


def train_json(outcomes: Sequence[RunOutcome], external: Sequence[ExternalScores] = ()) -> dict[str, object]:
    """The JSON form of a family of runs; failed runs are listed separately, with their reason."""
    scores = {one.run: one.to_json() for one in external}
    failed = [
        {"run": run.location, "mixture": run.mixture, "proxy": run.proxy, "seed": run.seed, "reason": run.reason}
        for run in outcomes
        if not run.done
    ]
    runs = [
        _run_json(run, run.record) | ({"external": scores[run.key]} if run.key in scores else {})
        for run in outcomes
        if run.done and run.record is not None
    ]
    return {"runs": runs, "failed": failed}


def _run_json(outcome: RunOutcome, record: RunRecord) -> dict[str, object]:
    shares = record.loss_shares()
    return {
        "run": outcome.location,
        "mixture": record.mixture,
        "proxy": record.proxy,
        "seed": record.seed,
        "consumed_samples": record.consumed_samples,
        "consumed_tokens": record.consumed_tokens,
        "delivered": {name: source.model_dump() for name, source in record.delivered.items()},
        **({"loss_weights": {name: share._asdict() for name, share in shares.items()}} if shares else {}),
        **delivered_phases_json(record),
        "heldout": {
            name: {
                "loss": score.loss,
                "bits_per_byte": score.bits_per_byte,
                **({} if score.kl is None else {"kl": score.kl, "kl_interval": score.kl_interval}),
                **({} if score.pairs is None else score.pairs.model_dump()),
                **({} if score.attributes is None else {"attributes": _attributes(score.attributes)}),
            }
            for name, score in record.heldout.items()
        },
        "windows": _use_of(outcome, record).to_json(),
        "parameters": record.parameters.total,
        "resumed_from_samples": outcome.resumed_from_samples,
    }


def _use_of(outcome: RunOutcome, record: RunRecord) -> WindowUse:
    return window_use(Path(outcome.folder) / INDEX_FOLDER, record.consumed_samples)


def _attributes(attributes: Mapping[str, AttributeScore]) -> dict[str, object]:
    return {name: attribute.model_dump() for name, attribute in attributes.items()}


def first_seeds(outcomes: Sequence[RunOutcome]) -> list[RunRecord]:
    """The record of the first seed of each mixture and proxy: seeds change the order, not the amounts."""
    found: dict[tuple[str, str], RunRecord] = {}
    for record in (outcome.record for outcome in outcomes if outcome.done and outcome.record is not None):
        found.setdefault((record.mixture, record.proxy), record)
    return list(found.values())


def delivered_table(outcomes: Sequence[RunOutcome]) -> Table:
    """Declared, planned and delivered tokens side by side, by mixture, proxy and source; of the first seed."""
    columns = ("mixture", "proxy", "source", "declared", "planned tokens", "delivered tokens", "share", "epochs")
    has_weights = any(run.record is not None and run.record.loss_weights for run in outcomes)
    extra = ("weight", "of loss: declared", "planned", "delivered") if has_weights else ()
    columns = (*columns, *extra)
    rows = []
    for record in first_seeds(outcomes):
        names, in_loss = (record.mixture, record.proxy), record.loss_shares()
        for name, source in record.delivered.items():
            share = percent(source.counted_tokens / sum(one.counted_tokens for one in record.delivered.values()))
            numbers = (percent(source.declared), count(source.planned), count(source.counted_tokens), share)
            of_loss = [f"{in_loss[name].weight:g}", *map(percent, in_loss[name][1:])] if name in in_loss else []
            rows.append((*names, name, *numbers, f"{source.epochs:.3f}", *of_loss, *[""] * (len(extra) - len(of_loss))))
            names = ("", "")
    title = "Declared = planned = delivered"
    supervised = any(run.record is not None and run.record.post_training is not None for run in outcomes)
    return table(f"{title}, in supervised tokens" if supervised else title, columns, rows, text_columns=3)
