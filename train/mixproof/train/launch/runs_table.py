"""`runs.parquet`: one row per run of a store, for analysis of runs across specs.

The table is derived from the run records alone and rewritten whenever runs have ended; if it is deleted, the next
`train` writes it again. Rows are sorted by key. FLOPs are float64, because those of a large run exceed 64 bits; the
record holds the exact number.

A run whose record cannot be read, or whose numbers do not fit the columns, is left out with a warning: every training
command of a store writes this table, so that one bad run must not make all of them fail.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.train.record import RUN, TRAIN, RunRecord, read_run
from mixproof.train.runs_schema import RUNS_TABLE, SCHEMA

log = logging.getLogger(__name__)
SAME_IN_RECORD = tuple(name for name in SCHEMA.names if name in RunRecord.model_fields)


def write_runs_table(store: Store) -> Path:
    """Write the table of all run records in `store`; return its path."""
    written = pa.BufferOutputStream()
    rows = [row for record in readable_records(store) if (row := _table_of(record)) is not None]
    pq.write_table(pa.concat_tables([SCHEMA.empty_table(), *rows]), written)
    return store.write(RUNS_TABLE, written.getvalue().to_pybytes())


def readable_records(store: Store) -> Iterator[RunRecord]:
    """All run records of a store, in the order of their keys; unreadable ones are skipped with a warning."""
    for key in store.keys(TRAIN):
        path = store.path(f"{TRAIN}/{key}/{RUN}")
        try:
            if path.is_file():
                yield read_run(path)
        except RequestError as error:
            log.warning("%s; left out (`mixproof audit %s` checks the run)", error, path.parent)


def _table_of(record: RunRecord) -> Any | None:  # noqa: ANN401  pyarrow ships no types
    """A table of one row; None if a number does not fit its column."""
    try:
        return pa.Table.from_pylist([row_of(record)], schema=SCHEMA)
    except (OverflowError, pa.ArrowException) as error:
        log.warning("run %s is left out of %s: %s", record.key, RUNS_TABLE, error)
        return None


def row_of(record: RunRecord) -> dict[str, Any]:
    """The row of a run."""
    plain = record.model_dump(mode="json", by_alias=True)
    return {
        **{name: plain[name] for name in SAME_IN_RECORD},
        "parameters": record.parameters.total,
        "non_embedding": record.parameters.non_embedding,
        "flops": float(record.flops),
        "unique_tokens": sum(source.unique_tokens for source in record.delivered.values()),
        "init_from": record.init_from.sha256 if record.init_from is not None else None,
        "tokenizer": record.tokenizer.sha256,
        "vocab_size": record.tokenizer.vocab_size,
        "lossless": record.tokenizer.lossless,
        "evaluation_protocol": record.evaluation.protocol,
        "delivered": [{"source": name, **source} for name, source in plain["delivered"].items()],
        "heldout": [{"source": name, **score} for name, score in plain["heldout"].items()],
        "record_sha256": record.sha256,
    }
