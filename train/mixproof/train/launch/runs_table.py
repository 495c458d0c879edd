"""`runs.parquet`: one row per run of a store, for analysis of runs across specs.

The table is derived from the run records alone and rewritten whenever runs have ended; if it is deleted, the next
`train` writes it again. Rows are sorted by key. FLOPs are float64, because those of a large run exceed 64 bits; the
record holds the exact number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.store import Store
from mixproof.train.record import RUN, TRAIN, RunRecord, read_run
from mixproof.train.runs_schema import RUNS_TABLE, SCHEMA

SAME_IN_RECORD = tuple(name for name in SCHEMA.names if name in RunRecord.model_fields)


def write_runs_table(store: Store) -> Path:
    """Write the table of all run records in `store`; return its path.

    Raises:
        RequestError: when a record does not match the schema.
    """
    paths = [store.path(f"{TRAIN}/{key}/{RUN}") for key in store.keys(TRAIN)]
    records = [read_run(path) for path in paths if path.is_file()]
    written = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([row_of(record) for record in records], schema=SCHEMA), written)
    return store.write(RUNS_TABLE, written.getvalue().to_pybytes())


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
