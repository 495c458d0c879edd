"""A table of runs from elsewhere: CSV or Parquet, one row per run.

Columns: `mixture`, `parameters`, `tokens` and `seed`, and one per score. `parameters` and `tokens` are numbers or
quantities such as `190M` and `3.9T`; `seed` and `mixture` are names. `unique_tokens` (optional) states how many of the
tokens are different. A score may be empty where a run lacks it. Nothing is dropped silently: a missing column, a cell
that is not a finite number and a run that occurs twice are errors that name file and row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.mixtures.blocks.source import Limits
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.search.csv_table import finite_number, read_csv
from mixproof.mixtures.values.quantities import parse_tokens
from mixproof.pipeline.readers.batch_rows import DEFAULT_ID
from mixproof.pipeline.readers.parquet import check_parquet, read_parquet
from mixproof.pipeline.record import Raw

MIXTURE, PARAMETERS, TOKENS, SEED, UNIQUE = "mixture", "parameters", "tokens", "seed", "unique_tokens"
REQUIRED = (MIXTURE, PARAMETERS, TOKENS, SEED)
MOST_ROWS = 100_000
"""Of a Parquet table: a small file may state billions."""
LEAST_DIGITS = 6
"""Digits of a score from which equal scores of two seeds are not a coincidence."""
NO_NUMBERS = frozenset({"nan", "inf", "infinity", "na", "n/a", "none", "null"})
UNCHECKED = (
    "that each run saw the tokens and the mixture that the table states",
    "that all runs had the same tokenizer, sequence length, recipe and code, except for what the columns state",
    "that scores were measured on the same held-out texts, and that these were not trained on",
    "that no run is missing, for example one that failed or scored badly",
)
"""What an audit proves about runs of a store, and nothing proves about a table."""


@dataclass(frozen=True)
class ReportedRun:
    """One row."""

    mixture: str
    parameters: int
    tokens: int
    seed: str
    unique_tokens: int
    """As many as `tokens` if the table does not state it."""
    scores: Mapping[str, float]
    """The scores that this run has."""


@dataclass(frozen=True)
class ReportedRuns:
    """All rows of a table."""

    path: Path
    scores: tuple[str, ...]
    """Names of the score columns."""
    runs: tuple[ReportedRun, ...]

    @property
    def mixtures(self) -> tuple[str, ...]:
        """Names of the mixtures, in the order of the table."""
        return tuple(dict.fromkeys(run.mixture for run in self.runs))

    def to_json(self) -> dict[str, object]:
        """What a command states about the table."""
        return {"path": str(self.path), "runs": len(self.runs), "audited": False, "unchecked": list(UNCHECKED)}


def read_runs_table(path: Path) -> ReportedRuns:
    """Read a table of runs.

    Raises:
        RequestError: naming file, row and column of the error.
    """
    try:
        header, rows = _read_parquet(path) if path.suffix in (".parquet", ".pq") else _read_csv(path)
    except DamagedFileError as error:
        raise RequestError(f"{path}: cannot be read as Parquet: {error}") from None
    _check_header(path, header)
    scores = tuple(name for name in header if name not in (*REQUIRED, UNIQUE))
    if not rows:
        raise RequestError(f"{path}: has no rows below the header")
    runs, row_of, scored = [], dict[tuple[str, int, int, str], str](), dict[tuple[object, ...], str]()
    for where, cells in rows:
        run = _run(where, cells, scores)
        key = (run.mixture, run.parameters, run.tokens, run.seed)
        if key in row_of:
            raise RequestError(f"{where}: the run {' × '.join(map(str, key))} is also in {row_of[key]}; remove one")
        row_of[key] = where
        _check_copy(where, run, scored)
        runs.append(run)
    return ReportedRuns(path, scores, tuple(runs))


def _check_copy(where: str, run: ReportedRun, scored: dict[tuple[object, ...], str]) -> None:
    """Refuse a run whose scores are, to the last digit, those of another seed: a copied row looks like no noise.

    Two seeds often have one equal accuracy, because it counts questions: a single score between 0 and 1 shows nothing.
    """
    exact = [value for value in run.scores.values() if len(repr(value).strip("-0.").replace(".", "")) >= LEAST_DIGITS]
    if not exact or (len(exact) == 1 and 0 <= exact[0] <= 1):
        return
    key = (run.mixture, run.parameters, run.tokens, *sorted(run.scores.items()))
    if key in scored:
        raise RequestError(
            f"{where}: seed {run.seed} has exactly the scores of the run in {scored[key]}; remove the copy"
        )
    scored[key] = where


def _run(where: str, cells: Mapping[str, str], scores: Sequence[str]) -> ReportedRun:
    parameters, tokens = (_count(where, name, cells[name]) for name in (PARAMETERS, TOKENS))
    unique = _count(where, UNIQUE, cells[UNIQUE]) if cells.get(UNIQUE) else tokens
    if unique > tokens:
        raise RequestError(f"{where}: {UNIQUE} {unique:,} is more than {TOKENS} {tokens:,}")
    for name in (MIXTURE, SEED):
        if not cells[name]:
            raise RequestError(f"{where}: {name} is empty; give every run one")
    measured = {name: _score(where, name, cells[name]) for name in scores if cells[name]}
    return ReportedRun(cells[MIXTURE], parameters, tokens, cells[SEED], unique, measured)


def _count(where: str, name: str, cell: str) -> int:
    number = finite_number(cell)
    if number is not None and number > 0 and number.is_integer():
        return int(number)
    try:
        return parse_tokens(cell)
    except ValueError:
        raise RequestError(f"{where}: {name}: {cell!r} is not a positive whole number or one such as 190M") from None


def _score(where: str, name: str, cell: str) -> float:
    number = finite_number(cell)
    if number is None:
        raise RequestError(f"{where}: {name}: {cell!r} is not a finite number; {_hint(cell)}")
    return number


def _hint(cell: str) -> str:
    """What may be meant by a cell that is no number."""
    if cell.endswith("%") and finite_number(cell[:-1].strip()) is not None:
        return "write percentages without the sign, in all rows of the column"
    if cell.count(",") == 1 and finite_number(cell.replace(",", ".")) is not None:
        return "write decimals with a point"
    if any(letter.isalpha() for letter in cell) and cell.lower().strip("+-") not in NO_NUMBERS:
        return f"every column besides {', '.join(REQUIRED)} and {UNIQUE} is a score; remove the column"
    return "leave the cell empty if it is unknown"


def _check_header(path: Path, header: Sequence[str]) -> None:
    for number, name in enumerate(header):
        if not name:
            raise RequestError(f"{path}: column {number + 1} has no name; name or remove it")
        if name in header[:number]:
            raise RequestError(f"{path}: the column {name!r} occurs twice; rename or remove one")
    for name in REQUIRED:
        if name not in header:
            like = next((f", but one {other!r}; rename it" for other in header if other.lower() == name), "")
            raise RequestError(
                f"{path}: there is no column {name!r}{like}; a table of runs needs {', '.join(REQUIRED)}"
            )
    if set(header) <= {*REQUIRED, UNIQUE}:
        raise RequestError(f"{path}: there is no score; add one column per score")


def _read_csv(path: Path) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    try:
        table = read_csv(path)
    except SpecError as error:
        raise RequestError(str(error)) from None
    rows = [(f"{path}:{line}", dict(zip(table.header, row, strict=True))) for line, row in table.rows]
    return list(table.header), rows


def _read_parquet(path: Path) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    if not path.is_file():
        raise RequestError(f"{path}: cannot be read as Parquet: no such file")
    check_parquet(str(path), text=None, id_=DEFAULT_ID, fields={})
    with pq.ParquetFile(path) as file:
        header, stated = list(file.schema_arrow.names), file.metadata.num_rows
    found = read_parquet(
        str(path), 0, path.stat().st_size, text=None, id_=DEFAULT_ID, with_fields=True, limits=Limits()
    )
    rows = []
    for number, row in enumerate(found, start=1):
        if max(stated, number) > MOST_ROWS:
            raise RequestError(f"{path}: has more than {MOST_ROWS:,} rows, which no table of runs has")
        fields = row.fields if isinstance(row, Raw) else None
        cells = {name: "" if cell is None else str(cell) for name, cell in (fields or {}).items()}
        if any(len(cell.splitlines()) > 1 for cell in (*header, *cells.values())) or fields is None:
            raise RequestError(f"{path}, row {number}: a cell has several lines, or is not UTF-8")
        rows.append((f"{path}, row {number}", cells))
    return header, rows
