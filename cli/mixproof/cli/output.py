"""Output for people and for scripts: the result goes to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from mixproof.ledger.shown_text import STEERING, one_line, redacted, visible

from .fitting_table import FittingTable

PIPE_WIDTH = 160
"""Columns of output to a file or pipe: it has no width of its own, and tables read better unwrapped."""
MIN_NAME_CHARS = 12
"""On a narrow terminal, names are not folded to fewer characters than this."""
UNFOLDED_NAME_CHARS = 26
"""A name up to this length is not folded in a table with one column of names; it rather continues below itself."""


class SafeConsole(Console):
    """A console on which text cannot steer the terminal or show credentials; styles are applied as usual."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render anything; control segments are rich's own, for progress bars."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401  as rich declares them
        """Render a string before it is wrapped."""
        return super().render_str(redacted(text), **options)


HAS_WIDTH = sys.stdout.isatty() or "COLUMNS" in os.environ
"""Whether the output has a width of its own."""
LABEL_CHARS = 10
"""Width of the first word of a summary's lines."""
stdout = SafeConsole(highlight=False, emoji=False, soft_wrap=False, width=None if HAS_WIDTH else PIPE_WIDTH)
stderr = SafeConsole(stderr=True, highlight=False, emoji=False)


def print_labelled(label: str, text: str) -> None:
    """Print a line of a summary. A terminal gets it wrapped at words, with the text aligned behind the label."""
    lines = wrapped(text, stdout.width - LABEL_CHARS) if HAS_WIDTH else [text]
    joined = ("\n" + " " * LABEL_CHARS).join(lines)
    stdout.print(f"{label:<{LABEL_CHARS}}{joined}", soft_wrap=True, markup=False)


def wrapped(text: str, width: int) -> list[str]:
    """The lines of a text at a width; words are never broken."""
    return textwrap.wrap(text, max(MIN_NAME_CHARS, width), break_long_words=False, break_on_hyphens=False) or [""]


def own_command() -> str:
    """`mixproof`, or its path where the shell would not find the name, as in the `.venv` of `make`."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "mixproof" and shutil.which("mixproof") is None else "mixproof"


def emit_json(value: Mapping[str, object]) -> None:
    """Write one JSON object, and nothing else, to stdout; credentials are replaced as everywhere else."""
    try:
        data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # orjson has no integers beyond 64 bits, which the FLOPs of a large run exceed
        data = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    data = redacted(data.decode()).encode()
    if not data.isascii():  # orjson spells controls of ASCII as escapes, and no others
        data = STEERING.sub(lambda found: json.dumps(found[0])[1:-1], data.decode()).encode()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


Cell = str | Text
"""Of a table: plain text, in which brackets are brackets, or text with a style."""


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, text_columns: int = 1) -> Table:
    """A table whose first `text_columns` columns are names, and whose other columns are right-aligned numbers.

    Title, heads and cells are not markup, because names from elsewhere stand in all of them.
    """
    cells = [tuple(Text(one_line(redacted(cell))) if isinstance(cell, str) else cell for cell in row) for row in rows]
    built = FittingTable(
        title=escape(one_line(title)),
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    built.text_columns = text_columns
    least_name = UNFOLDED_NAME_CHARS if text_columns == 1 else MIN_NAME_CHARS
    for index, column in enumerate(columns):
        values = [row[index].plain for row in cells if index < len(row)]
        longest = max((cell_len(word) for word in [*column.split(), *values]), default=1)
        is_name = index < text_columns
        built.add_column(
            escape(one_line(column)),
            justify="left" if is_name else "right",
            overflow="fold",
            min_width=min(longest, least_name) if is_name else longest,
            max_width=max(longest, cell_len(column)),
        )
    for row in cells:
        built.add_row(*row)
    return built


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
