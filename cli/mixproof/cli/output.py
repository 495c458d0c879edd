"""Output for people and for scripts: the result goes to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import TYPE_CHECKING

import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from .run_table import RunLines, run_table

if TYPE_CHECKING:  # importing the train room loads torch
    from mixproof.train.launch.progress import FamilyProgress

PIPE_WIDTH = 160
"""Columns of output to a file or pipe: it has no width of its own, and tables read better unwrapped."""
MIN_NAME_CHARS = 12
"""On a narrow terminal, names are not folded to fewer characters than this."""

stdout = Console(
    highlight=False,
    soft_wrap=False,
    width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH,
)
stderr = Console(stderr=True, highlight=False)
LINES_AROUND_RUNS = 8
"""Lines for the header, rules and caption of the table of runs, and for the terminal's own prompt."""


def emit_json(value: Mapping[str, object]) -> None:
    """Write one JSON object, and nothing else, to stdout."""
    try:
        data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # orjson has no integers beyond 64 bits, which the FLOPs of a large run exceed
        data = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int = 1) -> Table:
    """A table whose first `text_columns` columns are names, and whose other columns are right-aligned numbers."""
    cells = [tuple(row) for row in rows]
    built = Table(
        title=title,
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for index, column in enumerate(columns):
        words = column.split() + [row[index] for row in cells if index < len(row)]
        longest = max((len(word) for word in words), default=1)
        is_name = index < text_columns
        min_width = min(longest, MIN_NAME_CHARS) if is_name else longest
        built.add_column(column, justify="left" if is_name else "right", overflow="fold", min_width=min_width)
    for row in cells:
        built.add_row(*row)
    return built


class StageProgress:
    """Progress of a command: on a terminal one bar per stage and one row per run, elsewhere lines about runs."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._family: FamilyProgress | None = None
        self._lines = RunLines()

    def __call__(self, label: str, done: int, total: int) -> None:
        """Show that `done` of `total` tasks of the stage `label` have finished."""
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=total)
        self._bars.update(self._tasks[label], completed=done, total=total)

    def runs(self, family: FamilyProgress) -> None:
        """Show the state of the command's runs."""
        self._family = family
        if not stderr.is_terminal:
            for line in self._lines.lines(family, time.monotonic()):
                stderr.print(escape(line), soft_wrap=True)

    def __rich__(self) -> RenderableType:
        """The bars, and below them as many runs as fit on the terminal."""
        if self._family is None:
            return self._bars
        rows = stderr.size.height - len(self._bars.tasks) - LINES_AROUND_RUNS
        return Group(self._bars.get_renderable(), run_table(self._family, rows))


@contextmanager
def stage_progress() -> Iterator[StageProgress]:
    """Show progress on stderr: one bar per stage with the time left, and the runs in training.

    Libraries' prints go there too: Ray reports a dead node on stdout, and stdout is for results.
    """
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    shown = StageProgress(Progress(*columns, console=stderr, auto_refresh=False))
    live = Live(get_renderable=lambda: shown, console=stderr) if stderr.is_terminal else nullcontext()
    with redirect_stdout(sys.stderr), live:
        yield shown


def count(value: float) -> str:
    """A whole number with thousands separators, such as 12,345,678."""
    return f"{value:,.0f}"


def percent(value: float) -> str:
    """A fraction as a percentage with two decimals."""
    return f"{value:.2%}"


def amount(value: float) -> str:
    """A number with three significant digits and an SI prefix, such as `1.23 M`; a unit may follow."""
    for suffix, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {suffix}"
    return f"{value:.3g} "


def hours(value: float) -> str:
    """Hours with two significant digits: an estimate has no more precision."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
