"""Audit of `runs.parquet`: what the table of a store's runs says of one of them is what its record says.

The table is made from the records, so it proves nothing; but others read it in their place, and compare runs by it. A
run that is not in it yet is no failure: the table is written when all runs of a command have ended.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mixproof.tokenize.audit.report import Checks

from .record import RunRecord
from .runs_table import RUNS_TABLE, SCHEMA, row_of


def check_runs_table(root: Path, run: RunRecord, checks: Checks) -> None:
    """Compare the rows of a run, found by its key or by its record's checksum."""
    path = root / RUNS_TABLE
    if not path.is_file():
        return
    at = checks.at(file=str(path))
    try:
        table = pq.read_table(path, partitioning=None)
        if not at.true("schema", table.schema.equals(SCHEMA), "the columns of a table of runs", "others"):
            return
        mine = pc.or_(pc.equal(table["key"], run.key), pc.equal(table["record_sha256"], run.sha256))
        rows = table.filter(mine)
    except (OSError, pa.ArrowException) as error:
        at.true("schema", False, "a table of runs", str(error).splitlines()[0])
        return
    expected = pa.Table.from_pylist([row_of(run)], schema=SCHEMA)
    for row in range(rows.num_rows):
        found = rows.slice(row, 1)
        differ = [name for name in SCHEMA.names if not found[name].equals(expected[name])]
        at.equal("schema", "as columns that are not those of the record", [], differ)
