"""Weights & Biases: the same curves as the metrics where asked for, and nothing of it in the run."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from importlib.machinery import BuiltinImporter
from pathlib import Path

import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.train.loop.metrics import read_metrics
from mixproof.train.loop.run import train_run
from mixproof.train.loop.weights_and_biases import STEP, check_wandb
from mixproof.train.record import run_folder
from mixproof.train.request import RunRequest


def records_of(path: Path) -> list[Record]:
    """What an offline run holds for a later `wandb sync`: records of a header and data, in blocks of 32 KB."""
    data, records, rest, place = path.read_bytes(), [], b"", 7
    while place < len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        rest += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            records.append(Record.FromString(rest))
            rest = b""
    return records


def test_a_run_leaves_its_curves_for_weights_and_biases(
    make_request: Callable[..., RunRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    request = make_request(steps=4, wandb="mixtures")
    plain = make_request(steps=4, place="other")
    assert request.key == plain.key
    assert train_run(request).to_bytes() == train_run(plain).to_bytes()
    folder = run_folder(Store(request.store), request.key)
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    records = records_of(path)
    (run,) = [record.run for record in records if record.HasField("run")]
    assert (run.run_id, run.project, run.display_name) == (request.key, "mixtures", request.name)
    points = [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    metrics = read_metrics(folder)
    assert [point[STEP] for point in points] == [1, 2, 3, 4]
    assert [point["loss/all"] for point in points] == [row.loss for row in metrics]
    assert [point["loss/manual"] for point in points] == [row.loss_of["manual"] for row in metrics]
    assert not list(run_folder(Store(plain.store), plain.key).glob("wandb"))


def test_what_is_missing_is_said_before_any_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check_wandb(None)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_MODE", "WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    wandb.teardown()  # it reads its settings once a process
    with pytest.raises(RequestError, match="log in with `wandb login` or WANDB_API_KEY"):
        check_wandb("mixtures")
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()
    check_wandb("mixtures")
    monkeypatch.setattr(sys, "meta_path", [BuiltinImporter])
    monkeypatch.delitem(sys.modules, "wandb")
    with pytest.raises(RequestError, match=r"not installed; run: pip install 'mixproof\[wandb\]'"):
        check_wandb("mixtures")
