"""Predictions of a ladder as tables and as JSON, for `mixproof ladder`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from rich.markup import escape

from mixproof.cli.output import stdout, table
from mixproof.train.ladder.ladder import Forecast, Target

Forecasts = Mapping[str, Mapping[str, Forecast]]
"""By mixture and score."""


def forecasts_json(target: Target, forecasts: Forecasts) -> dict[str, object]:
    """The JSON form; `predictions` is null with several mixtures."""
    by_mixture = {name: {score: asdict(one) for score, one in own.items()} for name, own in forecasts.items()}
    return {
        "target": asdict(target),
        "predictions": next(iter(by_mixture.values())) if len(by_mixture) == 1 else None,
        "mixtures": by_mixture,
    }


def print_forecasts(target: Target, forecasts: Forecasts) -> None:
    """Print one table per mixture, and why scores are not predictable."""
    for mixture, of_mixture in forecasts.items():
        rows = [(name, one.through or "", *_cells(one)) for name, one in of_mixture.items()]
        columns = ("score", "through", "predicted", "95% interval", "fit error", "backtest")
        title = f"{mixture}: predicted at {target.parameters:,} parameters and {target.tokens:,} tokens"
        stdout.print(table(title, columns, rows, text_columns=2))
        for name, one in of_mixture.items():
            if one.reason is not None:
                word = "note" if one.predictable else "not predictable"
                stdout.print(f"[yellow]{word}:[/] {escape(name)}: {escape(one.reason)}", soft_wrap=True)


def any_predicted(forecasts: Forecasts) -> bool:
    """Whether at least one score has a value."""
    return any(one.value is not None for of_mixture in forecasts.values() for one in of_mixture.values())


def _cells(one: Forecast) -> tuple[str, str, str, str]:
    if one.value is None or one.interval is None:
        return "unknown", "", "", ""
    backtest = "" if one.backtest_error is None else f"{one.backtest_error:.1%}"
    return f"{one.value:.4f}", f"{one.interval[0]:.4f} to {one.interval[1]:.4f}", f"{one.fit_error:.1%}", backtest
