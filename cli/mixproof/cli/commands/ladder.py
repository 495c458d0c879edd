"""`mixproof ladder`: predict the scores of a large run from runs of several sizes and token budgets.

`ladder SPEC` trains the spec's runs, or reuses finished ones, and audits them. `ladder --table` reads runs from
elsewhere; nothing can audit them, and the output says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mixproof.cli.options import (
    DEFAULT_STORE,
    AddressOption,
    DeviceOption,
    JsonOption,
    QuietOption,
    StoreOption,
    VerboseOption,
    WorkersOption,
    read_quantities,
)
from mixproof.cli.output import emit_json
from mixproof.cli.tables.compare_table import print_unchecked
from mixproof.cli.tables.ladder_report import any_predicted, forecasts_json, print_forecasts
from mixproof.ledger.errors import RequestError
from mixproof.mixtures.key_positions import nearest
from mixproof.train.ladder.ladder import LadderRun, Target, predict_scores
from mixproof.train.ladder.units import check_units
from mixproof.train.reported.runs_table import ReportedRuns, read_runs_table

SpecArgument = Annotated[
    Path | None, typer.Argument(metavar="[SPEC]", help="Spec whose proxies are the sizes and token budgets.")
]
TableOption = Annotated[
    Path | None,
    typer.Option("--table", metavar="RUNS", help="CSV or Parquet: mixture, parameters, tokens, seed, and the scores."),
]
TargetOption = Annotated[
    str,
    typer.Option("--target", metavar="parameters=N,tokens=D", help="Run to predict, such as parameters=7B,tokens=4T."),
]
ChainOption = Annotated[
    list[str] | None,
    typer.Option("--chain", metavar="TASK=LOSS", help="Predict this task score through this loss; repeatable."),
]


def ladder(
    target: TargetOption,
    spec: SpecArgument = None,
    runs: TableOption = None,
    chain: ChainOption = None,
    store: StoreOption = DEFAULT_STORE,
    address: AddressOption = None,
    workers: WorkersOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Predict the scores of a larger run from a ladder of smaller ones; exit code 1 if none can be predicted."""
    if (spec is None) == (runs is None):
        raise RequestError("ladder needs either a SPEC or --table; runs of a table are not audited and never mixed in")
    wanted = read_target(target)
    if spec is not None:
        from .ladder_spec import LadderOptions, ladder_spec  # brings Ray, which tables do not need

        ladder_spec(spec, wanted, chain or [], LadderOptions(store, address, workers, device, as_json))
        return
    assert runs is not None
    ladder_table(runs, wanted, chain or [], as_json)


def ladder_table(path: Path, target: Target, chain: Sequence[str], as_json: bool) -> None:
    """Predict every mixture of a table."""
    reported = read_runs_table(path)
    chains = read_chains(chain, reported.scores)
    check_units(_runs(reported), target)
    forecasts = {
        mixture: predict_scores(_runs(reported, mixture), reported.scores, target, chains)
        for mixture in reported.mixtures
    }
    if as_json:
        emit_json({**forecasts_json(target, forecasts), "table": reported.to_json()})
    else:
        print_forecasts(target, forecasts)
        print_unchecked(reported.path, len(reported.runs))
    if not any_predicted(forecasts):
        raise typer.Exit(1)


def _runs(reported: ReportedRuns, mixture: str | None = None) -> list[LadderRun]:
    """The runs of one mixture, or of all."""
    return [
        LadderRun(run.parameters, run.tokens, run.unique_tokens, run.scores)
        for run in reported.runs
        if mixture in (None, run.mixture)
    ]


def read_target(text: str) -> Target:
    """Read `parameters=7B,tokens=4T`.

    Raises:
        RequestError: when one of them is missing or not a positive whole number.
    """
    given = read_quantities("--target", text)
    if set(given) != {"parameters", "tokens"}:
        raise RequestError(f"--target {text}: give both, such as parameters=7B,tokens=4T")
    return Target(given["parameters"], given["tokens"])


def read_chains(given: Sequence[str], scores: Sequence[str]) -> dict[str, str]:
    """Read every `TASK=LOSS`.

    Raises:
        RequestError: when there is no such score.
    """
    chains = {}
    for text in given:
        task, _, loss = text.partition("=")
        for name in (task, loss):
            if name not in scores:
                raise RequestError(f"--chain {text}: {name!r} is not a score of the runs; {nearest(name, scores)}")
        chains[task] = loss
    return chains
