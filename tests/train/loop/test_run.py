"""A run from its start to its record: what it says, what a kill changes (nothing), who may write."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mixproof.ledger.errors import SupersededError
from mixproof.ledger.manifest import CIRCUMSTANCES
from mixproof.ledger.store import Store
from mixproof.train.finished import finished_record
from mixproof.train.loop.metrics import StepMetrics, read_metrics
from mixproof.train.loop.run import train_run
from mixproof.train.ownership import Ownership
from mixproof.train.record import read_run, run_folder
from mixproof.train.request import RunRequest

MakeRequest = Callable[..., RunRequest]

SOURCE_ROOTS = [path for path in sys.path if path.endswith(("ledger", "mixtures", "pipeline", "tokenize", "train"))]
WORKER = """
import os, signal, sys
from pathlib import Path
def die(event, arguments, words=os.environ.get("DIES_AT", "").split()):
    if words and event == "open" and all(word in str(arguments[0]) for word in words):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(die)
from mixproof.train.request import RunRequest
from mixproof.train.loop.run import train_run
train_run(RunRequest.model_validate_json(Path(sys.argv[1]).read_bytes()))
"""


def folder_of(request: RunRequest) -> Path:
    return run_folder(Store(request.store), request.key)


def start_worker(request: RunRequest, tmp_path: Path, **environment: str) -> subprocess.Popen[bytes]:
    path = tmp_path / "request.json"
    path.write_text(request.model_dump_json())
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(SOURCE_ROOTS), "OMP_NUM_THREADS": "1"} | environment,
    )


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the worker ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_run_says_what_it_did(make_request: MakeRequest) -> None:
    request = make_request()
    record = train_run(request)
    # 8 steps of 4 samples of 32 targets; 600 x 32 embedding, 2 layers of
    # 32 x (4 + 2 x 2) x 8 + 32 x 32 attention, 3 x 32 x 64 mlp, 2 x 32 norms, and the last norm of 32
    assert record.parameters.total == 19_200 + 2 * (2_048 + 1_024 + 6_144 + 64) + 32
    assert record.parameters.non_embedding == record.parameters.total - 19_200
    assert (record.steps, record.consumed_samples, record.consumed_tokens) == (8, 32, 1024)
    assert record.flops == 1024 * (6 * (19_200 + 2 * 9_216) + 6 * 2 * 32 * 32)
    assert {name: (row.samples, row.tokens, row.planned) for name, row in record.delivered.items()} == {
        "guide": (8, 256, 256),
        "manual": (24, 768, 768),
    }
    assert record.delivered["guide"].declared == 0.25
    assert {name: score.documents for name, score in record.heldout.items()} == {"manual": 4, "guide": 4}
    for name, score in record.heldout.items():
        assert score.tokens == request.heldout[name].tokens
        assert score.bits_per_byte == pytest.approx(score.loss * score.tokens / math.log(2) / score.bytes)
    assert record.tokenizer.lossless is False  # these documents stand for other texts than their ids decode to
    assert (record.status, record.reason, record.dtype) == ("done", None, "float32")
    folder = folder_of(request)
    for name in (*record.files, *record.index):
        assert (folder / name).is_file(), name
    assert "checkpoints/iter_000000000032/common.pt" in record.files


def test_metrics_have_one_line_a_step_with_the_schedule_as_planned(make_request: MakeRequest) -> None:
    request = make_request(steps=8)
    seen: list[StepMetrics] = []
    train_run(request, seen.append)
    metrics = read_metrics(folder_of(request))
    assert metrics == seen
    assert [row.step for row in metrics] == list(range(1, 9))
    assert [row.samples for row in metrics] == [4 * step for step in range(1, 9)]
    assert [row.tokens for row in metrics] == [128 * step for step in range(1, 9)]
    # two steps of warm-up from 0, three steps of decay by 1 - sqrt from 0.003 to 0.0003
    falling = [0.0003 + 0.0027 * (1 - math.sqrt(k / 3)) for k in range(3)]
    assert [row.lr for row in metrics] == pytest.approx([0, 0.0015, 0.003, 0.003, 0.003, *falling])
    assert metrics[0].loss == pytest.approx(math.log(600), abs=0.1)
    assert all(row.grad_norm > 0 for row in metrics)


def test_loss_falls_on_real_text(make_request: MakeRequest) -> None:
    request = make_request(steps=60, lr="0.01")
    record = train_run(request)
    losses = [row.loss for row in read_metrics(folder_of(request))]
    assert sum(losses[-5:]) / 5 < losses[0] - 1.2
    assert all(score.loss < math.log(600) - 1 for score in record.heldout.values())


def test_a_finished_run_is_returned_and_not_trained_again(make_request: MakeRequest) -> None:
    request = make_request()
    record = train_run(request)
    written = (folder_of(request) / "run.json").stat().st_mtime_ns
    assert train_run(request) == record
    assert (folder_of(request) / "run.json").stat().st_mtime_ns == written


def test_a_run_without_its_checkpoint_is_not_finished(make_request: MakeRequest) -> None:
    request = make_request()
    record = train_run(request)
    file = folder_of(request) / "checkpoints/iter_000000000032/.metadata"
    file.write_bytes(file.read_bytes()[:-1])
    assert finished_record(Store(request.store), request) is None
    assert train_run(request) == record


def test_the_key_follows_what_changes_the_result_and_nothing_else(make_request: MakeRequest) -> None:
    request = make_request()
    same = {"store": "/elsewhere", "spec_name": "renamed", "device": "cuda", "micro_batch_size": 2}
    assert request.model_copy(update=same).key == request.key
    assert RunRequest.model_validate_json(request.model_dump_json()) == request
    for change in ({"seed": 2}, {"mixture": "other"}, {"rope_base": 500_000}, {"build": "0" * 64}):
        assert request.model_copy(update=change).key != request.key, change
    recipe = request.recipe.model_copy(update={"lr": "0.004"})
    assert request.model_copy(update={"recipe": recipe}).key != request.key


def test_a_run_without_its_identity_writes_it_again_without_another_step(make_request: MakeRequest) -> None:
    request = make_request()
    record = train_run(request)
    path = folder_of(request) / "identity.json"
    identity = path.read_bytes()
    assert hashlib.sha256(identity).hexdigest() == request.key == folder_of(request).name
    path.unlink()
    seen: list[StepMetrics] = []
    assert train_run(request, seen.append) == record
    assert path.read_bytes() == identity
    assert not seen


def test_the_same_run_elsewhere_has_the_same_record(make_request: MakeRequest) -> None:
    here, there = make_request(place="here"), make_request(place="there")
    assert here.key == there.key
    assert train_run(here).to_bytes() == train_run(there).to_bytes()


def test_another_seed_gives_other_weights_and_another_order(make_request: MakeRequest) -> None:
    losses = []
    for seed in (1, 2):
        request = make_request(seed=seed)
        train_run(request)
        losses.append([row.loss for row in read_metrics(folder_of(request))])
    assert losses[0][0] != losses[1][0]


def test_micro_batches_change_the_loss_in_the_last_digits_only(make_request: MakeRequest) -> None:
    losses = []
    for micro_batch_size in (1, 3, 4):
        request = make_request(place=f"store-{micro_batch_size}", micro_batch_size=micro_batch_size)
        train_run(request)
        losses.append([row.loss for row in read_metrics(folder_of(request))])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[2] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("steps_seen", [1, 5, 11])
def test_a_killed_run_resumes_bit_for_bit(make_request: MakeRequest, tmp_path: Path, steps_seen: int) -> None:
    """The whole record is compared: it holds checksums of weights, moments, metrics, scores and index."""
    undisturbed = make_request(place="undisturbed", steps=16, checkpoint_steps=2)
    expected = train_run(undisturbed)
    request = make_request(steps=16, checkpoint_steps=2)
    process = start_worker(request, tmp_path)
    folder = folder_of(request)
    wait_until(lambda: len(read_metrics(folder)) >= steps_seen, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert finished_record(Store(request.store), request) is None
    record = train_run(request)
    assert record.to_bytes() == expected.to_bytes()
    assert (folder / "metrics.jsonl").read_bytes() == (folder_of(undisturbed) / "metrics.jsonl").read_bytes()
    circumstances = json.loads((folder / CIRCUMSTANCES).read_bytes())
    assert circumstances["resumed_from_samples"] in range(0, 65, 8)
    if steps_seen == 11:
        assert circumstances["resumed_from_samples"] >= 32
    assert [path.name for path in sorted((folder / "checkpoints").iterdir())] == [
        f"iter_{samples:012d}" for samples in range(8, 65, 8)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["__0_0.distcp", "files.json"])
def test_a_run_killed_during_a_save_resumes_bit_for_bit(make_request: MakeRequest, tmp_path: Path, name: str) -> None:
    """The worker dies as it opens a file of its third checkpoint: the first to be written, or the last."""
    expected = train_run(make_request(place="undisturbed", checkpoint_steps=1))
    request = make_request(checkpoint_steps=1)
    process = start_worker(request, tmp_path, DIES_AT=f"/.iter_000000000012 {name}")
    assert process.wait(timeout=120) == -signal.SIGKILL
    checkpoints = folder_of(request) / "checkpoints"
    assert [path.name for path in sorted(checkpoints.glob("iter_*"))] == ["iter_000000000004", "iter_000000000008"]
    assert list(checkpoints.glob(".iter_000000000012*"))
    assert train_run(request).to_bytes() == expected.to_bytes()
    assert json.loads((folder_of(request) / CIRCUMSTANCES).read_bytes())["resumed_from_samples"] == 8
    assert not list(checkpoints.glob(".iter_*"))


def test_the_newest_checkpoints_stay_and_no_others(make_request: MakeRequest) -> None:
    for keep, left in ((1, [32]), (2, [24, 32]), (9, [8, 16, 24, 32])):
        request = make_request(place=f"keep-{keep}", checkpoint_steps=2, checkpoint_keep=keep)
        train_run(request)
        names = [path.name for path in sorted((folder_of(request) / "checkpoints").iterdir())]
        assert names == [f"iter_{samples:012d}" for samples in left]
    assert request.key == make_request(place="all", checkpoint_steps=2).key


def test_activations_made_again_change_nothing(make_request: MakeRequest) -> None:
    records = [train_run(make_request(place=str(again), steps=3, recompute=again)) for again in (False, True)]
    assert records[0].to_bytes() == records[1].to_bytes()


def test_a_half_written_checkpoint_is_passed_over(make_request: MakeRequest) -> None:
    request = make_request(checkpoint_steps=2)
    expected = train_run(request)
    checkpoints = folder_of(request) / "checkpoints"
    (folder_of(request) / "run.json").unlink()
    (checkpoints / "iter_000000000032/files.json").unlink()
    data = checkpoints / "iter_000000000024/__0_0.distcp"
    data.write_bytes(data.read_bytes()[:-7])
    (checkpoints / ".iter_000000000032.abc").mkdir()
    assert train_run(request) == expected
    circumstances = json.loads((folder_of(request) / CIRCUMSTANCES).read_bytes())
    assert circumstances["resumed_from_samples"] == 16
    assert not (checkpoints / ".iter_000000000032.abc").exists()


def test_an_attempt_that_is_no_longer_the_latest_stops_before_its_next_write(make_request: MakeRequest) -> None:
    request = make_request(steps=16)
    later = Ownership(folder_of(request))

    def take_over(metrics: StepMetrics) -> None:
        if metrics.step == 3:
            later.take()

    with pytest.raises(SupersededError, match=later.name):
        train_run(request, take_over)
    assert len(read_metrics(folder_of(request))) == 3
    assert not (folder_of(request) / "run.json").exists()
    assert not list((folder_of(request) / "checkpoints").glob("*"))


def test_a_loss_that_is_no_number_ends_the_run_and_names_the_step(make_request: MakeRequest) -> None:
    request = make_request(steps=16, lr="1000000000000000000000000000000")
    record = train_run(request)
    assert record.status == "failed"
    assert record.reason is not None
    assert f"step {record.steps + 1}," in record.reason
    assert record.consumed_samples < 64
    assert len(read_metrics(folder_of(request))) == record.steps
    assert record.heldout == {}
    assert read_run(folder_of(request) / "run.json") == record
    assert finished_record(Store(request.store), request) is None


@pytest.mark.slow
def test_two_ranks_agree_with_one(make_request: MakeRequest, tmp_path: Path) -> None:
    one = make_request(place="one")
    alone = train_run(one)
    two = make_request(place="two")
    port = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    processes = [start_worker(two, tmp_path, RANK=str(rank), LOCAL_RANK=str(rank), **port) for rank in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    record = read_run(folder_of(two) / "run.json")
    assert losses_of(two) == pytest.approx(losses_of(one), rel=1e-5)
    assert record.delivered == alone.delivered
    for name, score in record.heldout.items():
        assert score.loss == pytest.approx(alone.heldout[name].loss, rel=1e-5)
    # and one rank can go on from what two have written
    (folder_of(two) / "run.json").unlink()
    again = train_run(two)
    assert {name: score.loss for name, score in again.heldout.items()} == pytest.approx(
        {name: score.loss for name, score in record.heldout.items()}, rel=1e-6
    )


def losses_of(request: RunRequest) -> list[float]:
    return [row.loss for row in read_metrics(folder_of(request))]


def free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: Any = listener.getsockname()[1]
    return int(port)
