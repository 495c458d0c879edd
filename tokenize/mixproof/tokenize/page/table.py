"""Tables and numbers for templates: cells with text, sort key, and a link to the statement that proves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One cell."""

    text: str
    sort: float | str | None = None
    """Sort key; None: the text."""
    proof: str | None = None
    """URL fragment of the statement that contains the value."""
    color: str | None = None
    """Colour of a mark before the text, the same as in the figures."""
    note: str | None = None
    """Small print below the text."""


@dataclass(frozen=True)
class Column:
    """The head of a column."""

    name: str
    number: bool = True
    """Right-aligned, and sorted numerically."""
    head: bool = False
    """Identifies the row; shown without a label on narrow screens, where a row is a card."""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by every column."""

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    row_ids: tuple[str | None, ...] = ()
    """HTML ids of the rows, one per row; empty if rows have none."""


@dataclass(frozen=True)
class Fact:
    """One number of a summary."""

    number: str
    text: str


def columns(*names: str, text: int = 1) -> tuple[Column, ...]:
    """Heads of columns, of which the first `text` contain names and the others numbers."""
    return tuple(Column(name, index >= text, index < text) for index, name in enumerate(names))


def proof(anchor: str, *path: str | int) -> str:
    """URL fragment of a value in a statement: the statement's anchor, then a JSON pointer (RFC 6901)."""
    return f"{anchor}:/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in path)


def count(value: float, anchor: str | None = None, *path: str | int) -> Cell:
    """An integer with thousands separators, with its proof."""
    return Cell(f"{value:,.0f}", value, proof(anchor, *path) if anchor else None)


def decimal(value: float, anchor: str | None = None, *path: str | int, places: int = 4) -> Cell:
    """A number with `places` decimals, with its proof."""
    return Cell(f"{value:.{places}f}", value, proof(anchor, *path) if anchor else None)


def share(value: float, anchor: str | None = None, *path: str | int) -> Cell:
    """A share as a percentage, with its proof."""
    return Cell(percent(value), value, proof(anchor, *path) if anchor else None)


def percent(value: float) -> str:
    """A share as a percentage with two decimals; in scientific notation if it would round to 0."""
    return f"{value:.2%}" if value == 0 or abs(value) >= 0.00005 else f"{value:.1e}".replace("e-0", "e-")


def short_percent(value: float) -> str:
    """A share as a percentage with one decimal."""
    return "<0.1%" if 0 < value < 0.0005 else f"{value:.1%}"


def words(names: Sequence[str]) -> str:
    """Names listed in a sentence: a, b and c."""
    return ", ".join(names) if len(names) < 2 else f"{', '.join(names[:-1])} and {names[-1]}"


def amount(value: float) -> str:
    """A number with three significant digits and a decimal suffix, for labels: 1.8M."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:,.0f}"
