"""`mixproof ladder`: predict the scores of a large run from runs of several sizes and token budgets.

The runs come from a table, so they may be of any origin. Nothing can audit them, and the output says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from mixproof.cli.compare_table import print_unchecked
from mixproof.cli.options import JsonOption, VerboseOption
from mixproof.cli.output import emit_json, stdout, table
from mixproof.ledger.errors import RequestError
from mixproof.mixtures.key_positions import nearest
from mixproof.mixtures.values.quantities import parse_tokens
from mixproof.train.ladder.ladder import Forecast, LadderRun, Target, predict_scores
from mixproof.train.reported.runs_table import ReportedRuns, read_runs_table

TableOption = Annotated[
    Path,
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
    runs: TableOption,
    target: TargetOption,
    chain: ChainOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Predict the scores of a larger run from a ladder of smaller ones; exit code 1 if none can be predicted."""
    reported = read_runs_table(runs)
    wanted, chains = _target(target), _chains(chain or [], reported.scores)
    forecasts = {mixture: _forecasts(reported, mixture, wanted, chains) for mixture in reported.mixtures}
    if as_json:
        emit_json(_json(reported, wanted, forecasts))
    else:
        _print(reported, wanted, forecasts)
    if all(one.value is None for of_mixture in forecasts.values() for one in of_mixture.values()):
        raise typer.Exit(1)


def _forecasts(reported: ReportedRuns, mixture: str, target: Target, chains: Mapping[str, str]) -> dict[str, Forecast]:
    own = [
        LadderRun(run.parameters, run.tokens, run.unique_tokens, run.scores)
        for run in reported.runs
        if run.mixture == mixture
    ]
    return predict_scores(own, reported.scores, target, chains)


def _target(text: str) -> Target:
    """Read `parameters=7B,tokens=4T`."""
    given = dict(part.partition("=")[::2] for part in text.replace(" ", "").split(","))
    if set(given) != {"parameters", "tokens"}:
        raise RequestError(f"--target {text}: give both, such as parameters=7B,tokens=4T")
    try:
        return Target(_count(given["parameters"]), _count(given["tokens"]))
    except ValueError as error:
        raise RequestError(f"--target {text}: {error}") from None


def _count(text: str) -> int:
    """A positive whole number, also one spelled as 7e9."""
    try:
        number = float(text)
    except ValueError:
        return parse_tokens(text)
    return int(number) if number.is_integer() and number > 0 else parse_tokens(text)


def _chains(given: Sequence[str], scores: Sequence[str]) -> dict[str, str]:
    """Read every `TASK=LOSS`."""
    chains = {}
    for text in given:
        task, _, loss = text.partition("=")
        for name in (task, loss):
            if name not in scores:
                raise RequestError(f"--chain {text}: {name!r} is not a score of the table; {nearest(name, scores)}")
        chains[task] = loss
    return chains


def _json(reported: ReportedRuns, target: Target, forecasts: Mapping[str, Mapping[str, Forecast]]) -> dict[str, object]:
    by_mixture = {name: {score: asdict(one) for score, one in own.items()} for name, own in forecasts.items()}
    return {
        "target": asdict(target),
        "table": reported.to_json(),
        "predictions": next(iter(by_mixture.values())) if len(by_mixture) == 1 else None,
        "mixtures": by_mixture,
    }


def _print(reported: ReportedRuns, target: Target, forecasts: Mapping[str, Mapping[str, Forecast]]) -> None:
    for mixture, of_mixture in forecasts.items():
        rows = [(name, one.through or "", *_cells(one)) for name, one in of_mixture.items()]
        columns = ("score", "through", "predicted", "95% interval", "fit error", "backtest")
        title = f"{mixture}: predicted at {target.parameters:,} parameters and {target.tokens:,} tokens"
        stdout.print(table(title, columns, rows, text_columns=2))
        for name, one in of_mixture.items():
            if one.reason is not None:
                word = "note" if one.predictable else "not predictable"
                stdout.print(f"[yellow]{word}:[/] {escape(name)}: {escape(one.reason)}", soft_wrap=True)
    print_unchecked(reported.path, len(reported.runs))


def _cells(one: Forecast) -> tuple[str, str, str, str]:
    if one.value is None or one.interval is None:
        return "unknown", "", "", ""
    backtest = "" if one.backtest_error is None else f"{one.backtest_error:.1%}"
    return f"{one.value:.4f}", f"{one.interval[0]:.4f} to {one.interval[1]:.4f}", f"{one.fit_error:.1%}", backtest
