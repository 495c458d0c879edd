"""Mixtures and their scores, read from tables.

Two CSV files with one row per mixture: shares of sources, and scores. The column `index` joins their rows; the columns
`parameters` and `tokens` beside the shares are the size of a run; every other column is a source or a score. With
phases, a column `stable:web` is the share of a source in a phase, and the shares of each phase sum to 1. Published
shares are rounded, so rows sum to about 1 (or about 100): deviations up to 5% are renormalized; larger ones mean that a
column is missing or is not a share, and are errors. Nothing is dropped silently: a row without a partner, an empty cell
and a repeated index are errors that name file and line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.values.quantities import parse_tokens

from .csv_table import finite_number, read_csv
from .joint.sizes import SIZES, Sizes
from .phases.run_phases import RunPhases, columns_of, phases_in

FloatArray = NDArray[np.float64]
INDEX = "index"
MAX_INDEX_DIGITS = 100
"""Longer numbers join only if they are written the same way."""
SUM_TOLERANCE = 0.05
"""Largest relative deviation of a row's sum that counts as rounding."""


@dataclass(frozen=True)
class Mixtures:
    """Shares of sources, one row per mixture."""

    sources: tuple[str, ...]
    shares: FloatArray
    """[mixtures, sources]; rows sum to 1. With phases [mixtures, sources of all phases], one phase after the other."""
    phases: RunPhases | None = None
    """Of the runs; None if the shares are those of the whole run."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of `shares`."""
        return self.sources if self.phases is None else self.phases.columns(self.sources)

    @property
    def lengths(self) -> tuple[Fraction, ...]:
        """Share of the run's tokens in each phase."""
        return (Fraction(1),) if self.phases is None else self.phases.lengths


@dataclass(frozen=True)
class Observations:
    """Mixtures that were run, and their scores."""

    mixtures: Mixtures
    scores: tuple[str, ...]
    """Names of the scores."""
    values: FloatArray
    """[mixtures, scores]; lower is better."""
    index: tuple[str, ...]
    """Index of each mixture; the number of its row, from 1, when the tables have no index."""
    sizes: Sizes | None = None
    """Size of each run; None when the tables do not state it."""


@dataclass(frozen=True)
class _Table:
    path: Path
    names: tuple[str, ...]
    """Column names without the index."""
    index: tuple[str, ...] | None
    values: FloatArray
    lines: tuple[int, ...]
    """Line number of every row."""

    def columns(self, names: Sequence[str]) -> _Table:
        """The table with these columns only."""
        values = self.values[:, [self.names.index(name) for name in names]]
        return _Table(self.path, tuple(names), self.index, values, self.lines)


def read_observations(weights: Path, scores: Path, phases: RunPhases | None = None) -> Observations:
    """Read the mixtures that were run and their scores, joined by `index`, or by row order when neither has one.

    Args:
        weights: table of shares.
        scores: table of scores.
        phases: of the runs, if the columns of shares name them.

    Raises:
        SpecError: naming file, line and column of the error.
    """
    shares, values = _read(weights), _read(scores)
    rows = _partners(shares, values)
    sizes = _sizes(shares)
    mixtures = _mixtures(shares.columns([name for name in shares.names if name not in SIZES]), phases)
    index = values.index or tuple(str(row + 1) for row in range(len(rows)))
    return Observations(
        replace(mixtures, shares=mixtures.shares[rows]),
        values.names,
        values.values,
        index,
        None if sizes is None else sizes.of(np.array(rows)),
    )


def read_mixtures(path: Path, run: Mixtures) -> FloatArray:
    """Read mixtures of the sources and phases that were run, in the order of the file; columns may be in any order.

    Returns:
        Shares [mixtures, columns], as those of `run`.

    Raises:
        SpecError: naming file, line and column of the error.
    """
    table = _read(path)
    for name in table.names:
        if name in SIZES:
            raise SpecError(f"{path}: column {name!r}: the size to predict is given by --target; remove the column")
        if name not in run.columns:
            raise SpecError(f"{path}: column {name!r} is not a source of the mixtures that were run; remove it")
    for name in run.columns:
        if name not in table.names:
            raise SpecError(f"{path}: there is no column {name!r}; add it, with 0 for a source that is not used")
    return _mixtures(table.columns(run.columns), run.phases).shares


def _sizes(shares: _Table) -> Sizes | None:
    """The sizes of the runs; None without a column for them."""
    names = tuple(name for name in SIZES if name in shares.names)
    if not names:
        return None
    table = shares.columns(names)
    if len(names) == len(shares.names):
        raise SpecError(f"{shares.path}: has no column with the share of a source")
    for row, line in enumerate(table.lines):
        for name, value in zip(names, table.values[row].tolist(), strict=True):
            if value <= 0:
                raise SpecError(f"{shares.path}:{line}: {name} must be above 0, not {value:g}")
    return Sizes(names, table.values)


def _partners(shares: _Table, values: _Table) -> list[int]:
    """The row of `shares` for every row of `values`."""
    if shares.index is None or values.index is None:
        if shares.index is not values.index:
            without, other = (shares, values) if shares.index is None else (values, shares)
            raise SpecError(f"{without.path}: no column {INDEX!r} joins its rows with those of {other.path}; add it")
        if len(shares.values) != len(values.values):
            raise SpecError(
                f"{shares.path} has {len(shares.values):,} rows and {values.path} {len(values.values):,}, "
                f"and no column {INDEX!r} joins them; add one to both"
            )
        return list(range(len(shares.values)))
    row_of = {index: row for row, index in enumerate(shares.index)}
    for table, others, what in ((values, shares.index, "mixture"), (shares, values.index, "score")):
        missing = sorted(set(table.index or ()) - set(others))
        if missing:
            raise SpecError(
                f"{table.path}: {len(missing):,} rows have no {what} in the other file, "
                f"for example {INDEX} {', '.join(missing[:5])}; remove them or add their partners"
            )
    return [row_of[index] for index in values.index]


def _mixtures(table: _Table, phases: RunPhases | None) -> Mixtures:
    """The shares of a table, renormalized; of each phase apart if there are phases."""
    if phases is None:
        return Mixtures(table.names, _renormalized(table, ""))
    try:
        sources = phases.sources_of(table.names)
    except SpecError as error:
        raise SpecError(f"{table.path}: {error}") from None
    columns = [table.columns(columns_of(name, sources)) for name in phases.names]
    shares = [_renormalized(own, f" of phase {name}") for own, name in zip(columns, phases.names, strict=True)]
    return Mixtures(sources, np.hstack(shares), phases)


def _renormalized(table: _Table, of_phase: str) -> FloatArray:
    sums = table.values.sum(axis=1)
    whole = 100.0 if len(sums) and float(np.median(sums)) > 10 else 1.0
    for row, line in enumerate(table.lines):
        if (table.values[row] < 0).any():
            name = table.names[int(table.values[row].argmin())]
            raise SpecError(f"{table.path}:{line}: the share of {name} is negative; shares are 0 or more")
        if abs(sums[row] / whole - 1) > SUM_TOLERANCE:
            named = phases_in(table.names)
            raise SpecError(
                f"{table.path}:{line}: the shares{of_phase} sum to {sums[row]:.6g}, not to {whole:g}; "
                + (
                    f"if {' and '.join(named)} are phases, say where each ends: --phases {'=...,'.join(named)}=100%"
                    if named and not of_phase
                    else f"every column except {INDEX!r} must be the share of a source"
                )
            )
    return np.asarray(table.values / sums[:, None], np.float64)


def _read(path: Path) -> _Table:
    table = read_csv(path)
    header, rows = table.header, table.rows
    _check_header(path, header)
    if not rows:
        raise SpecError(f"{path}: has no rows below the header")
    columns = [column for column, name in enumerate(header) if name != INDEX]
    values = [[_value(path, line, header[column], row[column]) for column in columns] for line, row in rows]
    index = None
    if INDEX in header:
        index = tuple(spell_index(row[header.index(INDEX)]) for _, row in rows)
        _check_index(path, index, [line for line, _ in rows])
    names = tuple(header[column] for column in columns)
    return _Table(path, names, index, np.array(values, dtype=np.float64), tuple(line for line, _ in rows))


def _check_header(path: Path, header: Sequence[str]) -> None:
    if not any(name != INDEX for name in header):
        raise SpecError(f"{path}: has no column besides {INDEX!r}; the first line must name the columns")
    for number, name in enumerate(header):
        if not name:
            raise SpecError(f"{path}:1: column {number + 1} has no name; call it {INDEX!r} if it numbers the rows")
        if name in header[:number]:
            raise SpecError(f"{path}:1: the column {name!r} occurs twice; rename or remove one")


def _check_index(path: Path, index: Sequence[str], lines: Sequence[int]) -> None:
    first: dict[str, int] = {}
    for name, line in zip(index, lines, strict=True):
        if name in first:
            raise SpecError(
                f"{path}:{line}: {INDEX} {name} already occurs in line {first[name]}; make each {INDEX} unique"
            )
        first[name] = line


def spell_index(cell: str) -> str:
    """One spelling for `7`, `07` and `7.0`, which programs write for the same row; exact at any size."""
    text = cell.strip()
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    if not number.is_finite() or number.adjusted() > MAX_INDEX_DIGITS or number != number.to_integral_value():
        return text
    return str(int(number))


def _number(path: Path, line: int, column: str, cell: str) -> float:
    number = finite_number(cell)
    if number is None:
        raise SpecError(
            f"{path}:{line}: {column}: {cell!r} is not a finite number below 1e100; remove rows without a value"
        )
    return number


def _value(path: Path, line: int, column: str, cell: str) -> float:
    """A number; a size may also be a quantity, such as 190M."""
    if column in SIZES:
        try:
            return float(parse_tokens(cell))
        except ValueError:
            pass
    return _number(path, line, column, cell)
