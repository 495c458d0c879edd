"""CSV tables of results that were not made here: rows with their line numbers, and numbers read strictly.

Python reads `1_000`, `nan`, `inf` and digits of other scripts as numbers. In a table of results they are typing errors
or damage, so only plain decimal numbers are read.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from mixproof.mixtures.errors import SpecError

LARGEST = 1e100
"""Larger numbers overflow when they are squared and added up; no score has them."""
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
"""Each digit has one place, so a long cell that is no number takes linear time."""


@dataclass(frozen=True)
class CsvTable:
    """The cells of a file, without white space around them."""

    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    """Line number and cells of every row that is not empty; as many cells as columns."""


def read_csv(path: Path) -> CsvTable:
    """Read a CSV file whose first line names the columns.

    Raises:
        SpecError: when it cannot be read, a row does not have as many cells as the header, or a cell has several lines;
            names file and line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = tuple(name.strip() for name in next(reader, []))
            lines = [(reader.line_num, tuple(cell.strip() for cell in row)) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SpecError(f"{path}: cannot be read as CSV: {reason}") from None
    if not header:
        raise SpecError(f"{path}: is empty; the first line must name the columns")
    if len(header) == 1 and (other := next((mark for mark in ";\t" if mark in header[0]), None)):
        raise SpecError(f"{path}:1: columns are separated by {other!r}; separate them by commas")
    rows = [(line, row) for line, row in lines if any(row)]
    for line, row in rows:
        if len(row) != len(header):
            raise SpecError(f"{path}:{line}: has {len(row)} cells, but the header has {len(header)} columns")
    for line, row in [(1, header), *rows]:
        if any(len(cell.splitlines()) > 1 for cell in row):
            raise SpecError(f"{path}:{line}: a cell has several lines; a quotation mark may be missing")
    return CsvTable(header, tuple(rows))


def finite_number(cell: str) -> float | None:
    """The number in a cell; None if it is not a plain finite decimal number of at most `LARGEST`."""
    if not _NUMBER.fullmatch(cell):
        return None
    number = float(cell)
    return number if abs(number) <= LARGEST else None
