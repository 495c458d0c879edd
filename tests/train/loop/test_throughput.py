"""Speed and curves: what a run leaves beside its metrics, and that nothing of it is in the record."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from mixproof.ledger.store import Store
from mixproof.train.loop.metrics import read_metrics
from mixproof.train.loop.run import train_run
from mixproof.train.loop.throughput import THROUGHPUT, Throughput, peak_flops
from mixproof.train.record import run_folder
from mixproof.train.request import RunRequest


def test_a_run_leaves_its_speed_and_its_curves(make_request: Callable[..., RunRequest]) -> None:
    request = make_request(steps=8)
    record = train_run(request)
    folder = run_folder(Store(request.store), request.key)
    (line,) = (folder / THROUGHPUT).read_text().splitlines()  # eight steps take less than ten seconds
    last = Throughput(**json.loads(line))
    assert (last.step, last.seconds_left, last.mfu) == (8, 0.0, None)
    assert last.tokens_per_second == pytest.approx(1024 / last.seconds, rel=0.05)
    assert last.memory_bytes > 100e6
    (path,) = (folder / "tensorboard").iterdir()
    points = {
        (value.tag, event.step): value.tensor.float_val[0]
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    }
    for row in read_metrics(folder):
        assert points["loss/all", row.step] == pytest.approx(row.loss, rel=1e-6)
        for source, loss in row.loss_of.items():
            assert points[f"loss/{source}", row.step] == pytest.approx(loss, rel=1e-6)
    assert points["speed/tokens per second", 8] == pytest.approx(last.tokens_per_second, rel=1e-6)
    assert not [name for name in record.files if "throughput" in name or "tensorboard" in name]


def test_a_device_has_the_peak_of_its_data_sheet_or_none() -> None:
    assert peak_flops("NVIDIA H200") == 9.89e14
    assert peak_flops("NVIDIA H100 PCIe") == 7.56e14
    assert peak_flops("NVIDIA H100 80GB HBM3") == 9.89e14
    assert peak_flops("NVIDIA L40S") == 3.62e14
    assert peak_flops("NVIDIA L40") == 1.81e14  # not an L4
    assert peak_flops("NVIDIA L4") == 1.21e14
    assert peak_flops("NVIDIA A10G") == 7.0e13
    assert peak_flops("NVIDIA A100-SXM4-80GB") == 3.12e14
    assert peak_flops("NVIDIA GB200") == 2.5e15
    assert peak_flops("NVIDIA H100 80GB HBM3 MIG 1g.10gb") is None  # a seventh of it
    assert peak_flops("Some other card") is None
