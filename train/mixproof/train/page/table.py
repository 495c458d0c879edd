"""Tables as the template sets them: cells with what they say, what they sort by, and where it is stated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One cell."""

    text: str
    sort: float | str | None = None
    """What it sorts by; None: its text."""
    proof: str | None = None
    """Fragment of the place on the page that states it."""
    color: str | None = None
    """Of a mark before the text, that says which line or bar of a figure is meant."""
    note: str | None = None
    """Small print below the text."""


@dataclass(frozen=True)
class Column:
    """A column's head."""

    name: str
    number: bool = True
    """Set right, and sorted as numbers."""
    head: bool = False
    """Names what the row is about: on a phone, where a row is a card, it needs no label."""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by every column."""

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    row_ids: tuple[str | None, ...] = ()
    """Names under which rows are led to, one a row; none where there are no ids."""


def columns(*names: str, text: int = 1) -> tuple[Column, ...]:
    """Make the heads of columns, of which the first `text` hold names and the others numbers."""
    return tuple(Column(name, place >= text, place < text) for place, name in enumerate(names))


def proof(anchor: str, *path: str | int) -> str:
    """Fragment that leads to a value inside a statement: a JSON pointer (RFC 6901) behind the statement's anchor."""
    return f"{anchor}:/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in path)


def count(value: float, anchor: str | None = None, *path: str | int) -> Cell:
    """A whole number in groups of three, with its proof."""
    return Cell(f"{value:,.0f}", value, proof(anchor, *path) if anchor else None)


def decimal(value: float, anchor: str | None = None, *path: str | int, places: int = 4) -> Cell:
    """A number with some decimals, with its proof."""
    return Cell(f"{value:.{places}f}", value, proof(anchor, *path) if anchor else None)


def share(value: float, anchor: str | None = None, *path: str | int) -> Cell:
    """A share as a percentage, with its proof."""
    return Cell(percent(value), value, proof(anchor, *path) if anchor else None)


def percent(value: float) -> str:
    """A share with two decimals, or as many as show that it is not nothing."""
    return f"{value:.2%}" if value == 0 or abs(value) >= 0.00005 else f"{value:.1e}".replace("e-0", "e-")


def unknown(reason: str) -> Cell:
    """A cell for a number that is not known."""
    return Cell("not known", float("inf"), note=reason)


def words(names: Sequence[str]) -> str:
    """Names as a sentence lists them: a, b and c."""
    return ", ".join(names) if len(names) < 2 else f"{', '.join(names[:-1])} and {names[-1]}"


def amount(value: float) -> str:
    """A number short enough for a label, with a decimal unit: 1.80 M."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:,.0f}"
