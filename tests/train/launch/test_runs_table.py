"""The table of all runs in a store: one bad run does not make every later command of that store fail."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest

from mixproof.ledger.store import Store
from mixproof.train.launch.cost import training_rates
from mixproof.train.launch.runs_table import write_runs_table
from mixproof.train.loop.run import train_run
from mixproof.train.record import run_folder
from mixproof.train.request import RunRequest

MakeRequest = Callable[..., RunRequest]


def test_a_run_that_cannot_be_a_row_is_left_out_with_a_warning(
    make_request: MakeRequest, caplog: pytest.LogCaptureFixture
) -> None:
    request = make_request()
    store = Store(request.store)
    folder = run_folder(store, request.key)
    train_run(request)
    record = json.loads((folder / "run.json").read_bytes())
    for key, text in (
        ("a" * 64, json.dumps({**record, "key": "a" * 64, "seed": 2**64 + 1})),  # more than int64 holds
        ("b" * 64, json.dumps(record)[:100]),  # cut off
        ("c" * 64, json.dumps({**record, "key": "c" * 64, "flops": 10**400})),  # more than float64 holds
    ):
        other = folder.with_name(key)
        other.mkdir()
        (other / "run.json").write_text(text)
        (other / "circumstances.json").write_text("{")
    caplog.clear()
    with caplog.at_level(logging.WARNING, "mixproof"):
        table = pq.read_table(write_runs_table(store))
    assert table["key"].to_pylist() == [request.key]
    warnings = sorted(entry.getMessage() for entry in caplog.records if entry.levelno == logging.WARNING)
    assert len(warnings) == 3
    assert f"run {'a' * 64} is left out of runs.parquet: " in warnings[1]
    assert f"run {'c' * 64} is left out of runs.parquet: " in warnings[2]
    assert f"{'b' * 64}/run.json: not a run record of schema 1" in warnings[0]
    assert "`mixproof audit " in warnings[0]
    rates = [rate.amount for _, _, rate in training_rates(store)]
    assert len(rates) == 1 and rates[0] > 0
