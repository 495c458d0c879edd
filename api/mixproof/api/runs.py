"""Runs as rows: their records, and the curve of one, step by step."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from mixproof.ledger.errors import RequestError
from mixproof.ledger.location import CHECKPOINTS
from mixproof.ledger.store import Store
from mixproof.train.launch.runs_table import readable_records, row_of
from mixproof.train.loop.metrics import METRICS, StepMetrics, read_metrics
from mixproof.train.record import TRAIN, RunRecord
from mixproof.train.runs_schema import SCHEMA

from .rows import Rows

STEP_COLUMNS = (
    ("step", pa.int64()),
    ("samples", pa.int64()),
    ("tokens", pa.int64()),
    ("loss", pa.float64()),
    ("lr", pa.float64()),
    ("grad_norm", pa.float64()),
)


def list_runs(store: Store) -> Rows[RunRecord]:
    """The record of every run that ended, done or failed, in the order of spec, mixture, proxy and seed.

    A record that cannot be read is left out, and a warning of the logger `mixproof` names it.
    """
    return rows_of(list(readable_records(store)))


def rows_of(records: list[RunRecord]) -> Rows[RunRecord]:
    """Records as rows with the columns of `runs.parquet`."""
    records = sorted(records, key=lambda run: (run.spec_name, run.mixture, run.proxy, run.seed, run.key))
    return Rows(records, SCHEMA, row_of)


def losses_of(store: Store, key: str) -> Rows[StepMetrics]:
    """A row a step of a run, also while it trains.

    The table has, beside the columns of `metrics.jsonl`, `loss/<source>` and `targets/<source>` of every source.

    Raises:
        RequestError: when the run has no metrics.
    """
    folder = store.fetch(f"{TRAIN}/{key}", without=CHECKPOINTS)
    steps = read_metrics(folder)
    if not steps:
        raise RequestError(f"run {key[:12]}: {folder / METRICS} has no step; the run has not started to train")
    sources = sorted({source for step in steps for source in step.loss_of})
    by_source = [
        (f"{name}/{source}", kind)
        for name, kind in (("loss", pa.float64()), ("targets", pa.int64()))
        for source in sources
    ]
    return Rows(steps, pa.schema([*STEP_COLUMNS, *by_source]), _step_row)


def _step_row(step: StepMetrics) -> dict[str, Any]:
    own = {name: getattr(step, name) for name, _ in STEP_COLUMNS}
    losses = {f"loss/{source}": loss for source, loss in step.loss_of.items()}
    return own | losses | {f"targets/{source}": targets for source, targets in step.targets_of.items()}
