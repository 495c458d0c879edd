"""Audit of `runs.parquet`: the row of a run in the store's table agrees with the run's record.

The table is derived from the records, but people read it instead of them and compare runs by it. The expected row is
made here, not by the code that wrote the table. A run that is not in the table yet is not a failure: the table is
written when all runs of a command have ended.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mixproof.tokenize.audit.report import Checks
from mixproof.train.record import RunRecord
from mixproof.train.runs_schema import RUNS_TABLE, SCHEMA


def check_runs_table(root: Path, run: RunRecord, checks: Checks) -> None:
    """Compare the rows of a run, found by its key or its record's checksum."""
    path = root / RUNS_TABLE
    if not path.is_file():
        return
    at = checks.at(file=str(path))
    try:
        table = pq.read_table(path, partitioning=None)
        if not at.true("schema", table.schema.equals(SCHEMA), "the columns of a table of runs", "other columns"):
            return
        mine = pc.or_kleene(pc.equal(table["key"], run.key), pc.equal(table["record_sha256"], run.sha256))
        rows = table.filter(mine)
    except (OSError, pa.ArrowException) as error:
        at.true("schema", False, "a table of runs", str(error).splitlines()[0])
        return
    try:
        expected = pa.Table.from_pylist([_row(run)], schema=SCHEMA)
    except (OverflowError, pa.ArrowException):  # a record of an early version, whose seed exceeds 64 bits
        at.equal("schema", "rows of a run whose numbers do not fit the columns", 0, rows.num_rows)
        return
    for row in range(rows.num_rows):
        found = rows.slice(row, 1)
        differ = [name for name in SCHEMA.names if not found[name].equals(expected[name])]
        at.equal("schema", "as columns that differ from the record", [], differ)


def _row(run: RunRecord) -> dict[str, Any]:
    """Derive the row from the record."""
    stated = run.model_dump(mode="json", by_alias=True)
    row = {name: stated.get(name) for name in SCHEMA.names}
    tokenizer, delivered = stated["tokenizer"], stated["delivered"]
    row["parameters"], row["non_embedding"] = stated["parameters"]["total"], stated["parameters"]["non_embedding"]
    row["flops"] = float(run.flops)
    row["unique_tokens"] = sum(source["unique_tokens"] for source in delivered.values())
    row["init_from"] = stated["init_from"]["sha256"] if stated["init_from"] else None
    row["tokenizer"] = tokenizer["sha256"]
    row["vocab_size"], row["lossless"] = tokenizer["vocab_size"], tokenizer["lossless"]
    row["evaluation_protocol"] = stated["evaluation"]["protocol"]
    row["delivered"] = [{"source": name, **stated["delivered"][name]} for name in delivered]
    row["heldout"] = [{"source": name, **scores} for name, scores in stated["heldout"].items()]
    row["record_sha256"] = run.sha256
    return row
