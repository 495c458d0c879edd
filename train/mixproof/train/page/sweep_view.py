"""The sweep of learning rates behind a comparison: the objective of each mixture at each rate that was tried."""

from __future__ import annotations

from mixproof.tokenize.page.table import Cell, Column, Table

from .evidence import Evidence, SweepEvidence


def sweep_views(evidence: Evidence) -> list[tuple[SweepEvidence, Table]]:
    """The sweeps of all specs, each with its table; a sweep that two specs share is shown once."""
    sweeps = list({one.sentence: one for spec in evidence.specs for one in spec.sweeps}.values())
    return [(one, _table(one, number)) for number, one in enumerate(sweeps)]


def _table(sweep: SweepEvidence, number: int) -> Table:
    rates = list(next(iter(sweep.objective_of.values())))
    heads = (Column("mixture", number=False, head=True), *(Column(_head(rate, sweep.lr)) for rate in rates))
    rows = tuple(
        (Cell(mixture), *(_cell(own.get(rate)) for rate in rates)) for mixture, own in sweep.objective_of.items()
    )
    seeds = "1 seed" if sweep.seeds == 1 else f"mean of {sweep.seeds} seeds"
    return Table(
        f"sweep-{number}", f"Objective on {sweep.proxy} by learning rate, {seeds}; lower is better", heads, rows
    )


def _head(rate: str, chosen: str) -> str:
    return f"{rate} (used)" if rate == chosen else rate


def _cell(value: float | None) -> Cell:
    return Cell("failed", float("inf")) if value is None else Cell(f"{value:.4f}", value)
