"""The command's runs during training: a table on a terminal, a line about once a minute in a log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:  # importing the train room loads torch
    from mixproof.train.launch.progress import FamilyProgress, RunProgress, State

SHOWN_FIRST: tuple[State, ...] = ("training", "scoring", "starting", "failed", "waiting", "done")
"""Order in which runs are chosen when not all fit on the terminal."""
STYLES: dict[State, str] = {"failed": "bold red", "done": "green", "waiting": "dim", "starting": "cyan"}
SECONDS_BETWEEN_LINES = 60.0
COLUMNS = ("mixture", "proxy", "seed", "state", "tokens", "of", "loss", "tokens/s", "time left")
NARROW_COLUMNS = ("mixture", "proxy", "seed", "state", "done", "loss", "time left")
NARROW = 100
"""Columns of a terminal below which the share of the tokens is shown instead of their numbers."""
NAME_CHARS = {True: 24, False: 40}
PROXY_CHARS = 12
"""Longer names are shortened in their middle: their ends tell them apart. The first by whether the table is narrow."""
MIN_ROWS = 4


def run_table(family: FamilyProgress, rows: int, width: int = NARROW) -> Table:
    """A table of at most `rows` runs in the order of the spec, `width` columns wide; runs at work are chosen first."""
    is_narrow = width < NARROW
    built = Table(
        header_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        caption=escape(summary(family)),
        caption_justify="left",
        caption_style="none",
    )
    for index, column in enumerate(NARROW_COLUMNS if is_narrow else COLUMNS):
        built.add_column(column, justify="left" if index < 2 or column == "state" else "right", no_wrap=True)
    shown = sorted(family.runs, key=lambda run: SHOWN_FIRST.index(run.state))[: max(rows, MIN_ROWS)]
    chosen = {id(run) for run in shown}
    for run in family.runs:
        if id(run) in chosen:
            state = f"[{STYLES[run.state]}]{run.state}[/]" if run.state in STYLES else run.state
            names = (shortened(run.mixture, NAME_CHARS[is_narrow]), shortened(run.proxy, PROXY_CHARS))
            numbers = _few_numbers(run) if is_narrow else _numbers(run)
            built.add_row(*map(escape, names), str(run.seed), state, *numbers)
    if len(shown) < len(family.runs):
        built.add_row("…", "", "", f"and {len(family.runs) - len(shown)} more")
    return built


def shortened(name: str, most: int) -> str:
    """A name of at most `most` characters, its middle left out if it is longer."""
    if len(name) <= most:
        return name
    head = (most - 1) // 2
    return f"{name[:head]}…{name[len(name) - (most - 1 - head) :]}"


def summary(family: FamilyProgress) -> str:
    """How many runs are in each state, and how long training will take."""
    found = Counter(run.state for run in family.runs)
    states = ", ".join(f"{found[state]} {state}" for state in reversed(SHOWN_FIRST) if found[state])
    left = "" if family.seconds_left is None or not _active(family) else f"; about {_time(family.seconds_left)} left"
    return f"{len(family.runs)} runs: {states}{left}"


class RunLines:
    """Log lines about runs: one when a run ends, and about once a minute one for each run at work."""

    def __init__(self) -> None:
        self._ended: set[tuple[str, str, int]] | None = None
        self._next_line = 0.0

    def lines(self, family: FamilyProgress, now: float) -> Iterator[str]:
        """Lines due at time `now` in seconds; runs that had finished before the first call are not reported."""
        ended = {_name(run): run for run in family.runs if run.state in ("done", "failed")}
        if self._ended is None:
            self._ended = {name for name, run in ended.items() if run.state == "done"}
            self._next_line = now + SECONDS_BETWEEN_LINES
        for name in ended.keys() - self._ended:
            yield _line(ended[name])
        self._ended |= ended.keys()
        if now >= self._next_line:
            yield from (_line(run) for run in family.runs if run.state in ("training", "scoring"))
            yield f"train: {summary(family)}"
            self._next_line = now + SECONDS_BETWEEN_LINES


def _line(run: RunProgress) -> str:
    tokens, of, loss, speed, left = _numbers(run)
    parts = [f"{tokens} of {of} tokens"]
    parts += [f"loss {loss}"] if loss else []
    parts += [f"{speed} tokens/s"] if speed else []
    parts += [f"{left} left"] if left else []
    because = f": {run.reason}" if run.reason else ""
    return f"{run.mixture} × {run.proxy} × seed {run.seed}: {run.state}{because}; {', '.join(parts)}"


def _numbers(run: RunProgress) -> tuple[str, str, str, str, str]:
    return (
        f"{run.tokens:,}",
        f"{run.tokens_planned:,}",
        "" if run.loss is None else f"{run.loss:.4f}",
        "" if run.tokens_per_second is None else f"{run.tokens_per_second:,.0f}",
        "" if run.seconds_left is None else _time(run.seconds_left),
    )


def _few_numbers(run: RunProgress) -> tuple[str, str, str]:
    _, _, loss, _, left = _numbers(run)
    return f"{run.tokens / run.tokens_planned:.0%}", loss, left


def _name(run: RunProgress) -> tuple[str, str, int]:
    return run.mixture, run.proxy, run.seed


def _active(family: FamilyProgress) -> bool:
    return any(run.state not in ("done", "failed") for run in family.runs)


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
