"""Runs in processes of their own: killed by SIGKILL half way, or trained by several ranks over gloo."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Sequence

from mixproof.train.loop.metrics import StepMetrics
from mixproof.train.loop.run import train_run
from mixproof.train.request import RunRequest

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["mixproof.train.loop.run"])  # imports torch once, not in every process
SECONDS = 240


def kill_at(request: RunRequest, step: int) -> None:
    """Train a run in a process that SIGKILL ends after `step`."""
    process = _FORKS.Process(target=_die, args=(request.model_dump_json(), step))
    process.start()
    process.join(SECONDS)
    assert process.exitcode == -signal.SIGKILL


def train_on_ranks(requests: Sequence[RunRequest], ranks: int) -> None:
    """Train runs one after another, each on several ranks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    texts = [request.model_dump_json() for request in requests]
    processes = [_FORKS.Process(target=_train, args=(texts, rank, ranks, port)) for rank in range(ranks)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
    assert [process.exitcode for process in processes] == [0] * ranks


def _die(text: str, step: int) -> None:
    def die(metrics: StepMetrics) -> None:
        if metrics.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    train_run(RunRequest.model_validate_json(text), die)


def _train(texts: Sequence[str], rank: int, ranks: int, port: int) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for text in texts:
        train_run(RunRequest.model_validate_json(text))
