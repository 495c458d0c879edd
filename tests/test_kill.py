"""SIGKILL anywhere, start again: not one byte differs, and only unfinished work is done again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from conftest import Experiment, Finished, environment, mixproof_command

Mixproof = Callable[..., Finished]


def start(*arguments: str | Path, log: Path | None = None) -> subprocess.Popen[bytes]:
    with (log or Path(os.devnull)).open("wb") as output:
        return subprocess.Popen(
            mixproof_command(*arguments), env=environment(), stdout=output, stderr=output, start_new_session=True
        )


def wait_for(store: Path, pattern: str, count: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the store holds `count` files of a pattern; the command must still be running then."""
    end = time.monotonic() + 240
    while len(list(store.glob(pattern))) < count:
        assert process.poll() is None, f"the command ended before {pattern} was there {count} times"
        assert time.monotonic() < end
        time.sleep(0.02)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the driver; its Ray processes may still be ending when it is started again, as with any user."""
    process.kill()
    process.wait()


def built_bytes(store: Path) -> dict[str, bytes]:
    """Files of a store, without the hidden scratch file that a kill between writing and renaming leaves."""
    files = [path for stage in ("encode", "builds") for path in (store / stage).rglob("[!.]*") if path.is_file()]
    volatile = {"circumstances.json"}
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in files if path.name not in volatile}


POINTS = {
    "the first shard is read": ("read/*/receipt.json", 1),
    "half the shards are read": ("read/*/receipt.json", 4),
    "the tokenizer is trained": ("tokenizer/*/receipt.json", 1),
    "the first shard is encoded": ("tokens/*/receipt.json", 1),
    "the first part is assembled": ("encode/*/receipt.json", 1),
}


@pytest.mark.parametrize("point", POINTS)
def test_a_build_killed_at(point: str, experiment: Experiment, mixproof: Mixproof, tmp_path: Path) -> None:
    pattern, count = POINTS[point]
    store = tmp_path / "store"
    process = start("build", experiment.spec, "--store", store)
    wait_for(store, pattern, count, process)
    kill(process)
    finished = {path: path.stat().st_mtime_ns for path in store.glob("*/*/receipt.json")}
    again = mixproof("build", experiment.spec, "--store", store, "--json")
    assert again.code == 0, again.err
    assert again.json["build"] == experiment.result["build"]["build"]
    assert built_bytes(store) == built_bytes(experiment.store)
    assert again.json["stages_reused"] > 0
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


def busy_worker(driver: subprocess.Popen[bytes]) -> psutil.Process:
    """Find a worker that is running one of our tasks; Ray names the process after the task's function."""
    while True:
        assert driver.poll() is None, "the command ended before a worker was seen at work"
        for child in psutil.Process(driver.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it may end while we look at it
                task = (child.cmdline() or [""])[0]
                if task.startswith("ray::") and task[5:6].islower():
                    return child


def test_a_build_whose_worker_is_killed_goes_on(experiment: Experiment, mixproof: Mixproof, tmp_path: Path) -> None:
    store = tmp_path / "store"
    log = tmp_path / "log"
    process = start("build", experiment.spec, "--store", store, "--workers", "1", log=log)
    wait_for(store, "read/*/receipt.json", 1, process)
    worker = busy_worker(process)
    os.kill(worker.pid, signal.SIGKILL)
    assert process.wait(timeout=300) == 0, log.read_text()
    assert built_bytes(store) == built_bytes(experiment.store)


def test_a_training_run_killed_half_way_resumes_to_the_same_numbers(
    experiment: Experiment, mixproof: Mixproof, tmp_path: Path
) -> None:
    spec = experiment.spec.with_name("resumed.yaml")
    spec.write_text(experiment.spec.read_text().replace("  seeds: [1, 2]", "  checkpoint_every: 1024\n  seeds: [1]"))
    store = tmp_path / "store"
    assert mixproof("build", spec, "--store", store).code == 0
    process = start("train", spec, "--store", store, "--workers", "1")
    wait_for(store, "train/*/checkpoints/iter_*/metadata.json", 2, process)
    kill(process)
    again = mixproof("train", spec, "--store", store, "--json")
    assert again.code == 0, again.err
    assert any(run["resumed_from_samples"] > 0 for run in again.json["runs"])
    whole = {(run["mixture"], run["seed"]): run for run in experiment.result["train"]["runs"]}
    for run in again.json["runs"]:
        undisturbed = whole[run["mixture"], run["seed"]]
        assert run["heldout"] == undisturbed["heldout"]
        assert run["delivered"] == undisturbed["delivered"]


LADDER = """\
mixtures:
  prose: {manual: 40%, guide: 30%, notes: 30%, code: 0%}
train:
  sequence_length: 64
  proxies:
    small:
      tokens: [512, 1024, 2048]
      global_batch_size: 4
      lr: 2.0e-3
      architecture: {layers: 1, hidden: 16, ffn: 16, heads: 2, kv_heads: 1, head_dim: 8}
    middle:
      tokens: [512, 1024]
      global_batch_size: 4
      lr: 2.0e-3
      architecture: {layers: 1, hidden: 32, ffn: 32, heads: 4, kv_heads: 2, head_dim: 8}
    large:
      tokens: 2048
      global_batch_size: 4
      lr: {sweep: [1.0e-3, 4.0e-3]}
      architecture: {layers: 2, hidden: 32, ffn: 64, heads: 4, kv_heads: 2, head_dim: 8}
"""


@pytest.mark.slow
def test_a_ladder_killed_in_its_sweep_predicts_from_the_same_bytes(
    experiment: Experiment, mixproof: Mixproof, tmp_path: Path
) -> None:
    text = experiment.spec.read_text()
    spec = experiment.spec.with_name("ladder.yaml")
    spec.write_text(text[: text.index("mixtures:")] + LADDER + text[text.index("objective:") :])
    whole, store = tmp_path / "whole", tmp_path / "store"
    for copy in (whole, store):
        shutil.copytree(experiment.store, copy, ignore=shutil.ignore_patterns("train", "draw*", "runs.parquet"))
    arguments = ("ladder", spec, "--target", "parameters=100K,tokens=20K", "--json")
    undisturbed = mixproof(*arguments, "--store", whole)
    assert undisturbed.code in (0, 1) and undisturbed.json["runs"]["count"] == 6, undisturbed.err
    process = start(*arguments, "--store", store)
    wait_for(store, "train/*/run.json", 1, process)  # of the two runs in the sweep
    kill(process)
    again = mixproof(*arguments, "--store", store)
    assert again.json == undisturbed.json
    records = [{path.parent.name: path.read_bytes() for path in one.glob("train/*/run.json")} for one in (whole, store)]
    assert records[0] == records[1] and len(records[0]) == 7
