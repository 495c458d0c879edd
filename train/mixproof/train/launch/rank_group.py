"""One run on several ranks: data parallel over Ray Train workers, with gloo on CPUs and nccl on GPUs.

Ray Train starts the ranks together, provides the rendezvous, and restarts all of them when one dies. Every restart
resumes from the run's newest checkpoint, so the result equals that of an undisturbed run. Every rank reads its part of
the same global batches (`trainer`), so the order of samples does not depend on the number of ranks.

Ray Train retries every failure. An error that a restart cannot fix (a damaged file, a full disk, other code on a node,
out of memory, another attempt that took over the run, a bug) is therefore written to a file that every rank checks
first, and raised: the restart ends the other ranks, which would wait half an hour for the one that failed.
RuntimeErrors are retried, because torch raises one on a rank whose peer has died.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import traceback
import uuid
from pathlib import Path
from typing import Any

import ray
import torch

from mixproof.ledger.disk_errors import storage_error
from mixproof.ledger.errors import MixproofError, NodeError
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.node_task import avoided_nodes, node_selector
from mixproof.pipeline.cluster.resources import Needs
from mixproof.pipeline.cluster.same_code import code_versions, differences, different_code
from mixproof.pipeline.cluster.task_logs import log_level, worker_log
from mixproof.train.finished import failed_record
from mixproof.train.loop.run import train_run
from mixproof.train.record import TRAIN, run_folder
from mixproof.train.request import RunRequest

SCRATCH = ".ray_train"
"""In the run's folder while its ranks train: Ray Train's own files, and the error that ended the run."""
END = "end.json"
"""The error that ended the run, in the folder of its attempt; ranks on all nodes read and write it."""


def train_on_ranks(request: RunRequest, most_deaths: int) -> str | None:
    """Train a run on its declared number of ranks; return why the training failed, or None when it is done.

    Call it in a Ray task that holds no CPUs: the ranks get their own.

    Raises:
        NodeError: when a node of a rank is faulty, or has other code than this process.
        MixproofError: the error that ended the run, or more than `most_deaths` rank deaths.
    """
    from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

    from mixproof.pipeline.cluster.results import reason

    store, ranks = Store(request.store), request.resources.ranks
    folder, attempt = run_folder(store, request.key) / SCRATCH, uuid.uuid4().hex
    end = f"{TRAIN}/{request.key}/{SCRATCH}/{attempt}/{END}"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / attempt).mkdir(parents=True)
    try:
        _trainer(request, folder / attempt, end, most_deaths).fit()
        _raise_end(store, end)
    except WorkerGroupError as error:
        _raise_end(store, end)
        raise MixproofError(f"one of {ranks} ranks died, {most_deaths + 1} times in all: {reason(error)}") from error
    except TrainingFailedError as error:
        raise MixproofError(f"the {ranks} ranks could not be started together: {reason(error)}") from error
    finally:
        store.remove([end])
        shutil.rmtree(folder / attempt, ignore_errors=True)
        with contextlib.suppress(OSError):  # an attempt that has taken the run over uses it
            folder.rmdir()
    record = failed_record(store, request)
    return record.reason if record is not None else None


def _raise_end(store: Store, end: str) -> None:
    """Raise the error that ended the run, if one did."""
    if (text := store.read([end]).get(end)) is None:
        return
    told = json.loads(text)
    if not told["node"]:
        raise MixproofError(told["reason"])
    error = NodeError(told["reason"])
    error.node = told["node"]
    raise error


def _trainer(request: RunRequest, scratch: Path, end: str, most_deaths: int) -> Any:  # noqa: ANN401  ray.train loads here alone
    from ray.train import FailureConfig, RunConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.config import ScalingConfig  # `ray.train` declares the one of version 1

    from .rank_network import RayNetwork

    resources = request.resources
    return TorchTrainer(
        _train_rank,
        train_loop_config={
            "request": request.model_dump_json(),
            "end": end,
            "code": code_versions(),
            "log_level": log_level(),
        },
        scaling_config=ScalingConfig(
            num_workers=resources.ranks,
            use_gpu=resources.gpus > 0,
            resources_per_worker={"CPU": resources.cpus} | ({"GPU": resources.gpus} if resources.gpus else {}),
            label_selector=node_selector(Needs(resources.cpus, resources.gpus), avoided_nodes()),
        ),
        torch_config=RayNetwork(backend="nccl" if resources.gpus else "gloo"),
        run_config=RunConfig(
            name="ranks", storage_path=str(scratch), failure_config=FailureConfig(max_failures=most_deaths)
        ),
    )


def _train_rank(config: dict[str, Any]) -> None:
    """Train as one rank; Ray Train's environment variables say which."""
    request, end = RunRequest.model_validate_json(config["request"]), config["end"]
    store = Store(request.store)
    if store.read([end]):
        return
    try:
        _check_code(config["code"])
        with worker_log(f"train, {request.name}", config["log_level"]):
            train_run(request)
    except Exception as error:
        if (told := _end_of(error)) is None:
            raise
        store.write(end, json.dumps(told).encode())
        raise RuntimeError(f"this rank ends the run: {told['reason']}") from error


def _check_code(expected: dict[str, str]) -> None:
    """Raise DifferentCodeError if this node has other code than the task that starts the ranks."""
    if differs := differences(expected):
        raise different_code(_node_id(), socket.gethostname(), ", ".join(differs))


def _end_of(error: Exception) -> dict[str, str] | None:
    """Why the run ends, and the id of the node whose fault that is, if it is one's; None: a restart may help."""
    shown = error if isinstance(error, MixproofError) else storage_error(error)
    if shown is not None:
        return {"reason": str(shown), "node": _node_id() if isinstance(shown, NodeError) else ""}
    if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
        return None
    reason = str(error) if isinstance(error, torch.OutOfMemoryError) else traceback.format_exc()
    return {"reason": reason, "node": ""}


def _node_id() -> str:
    return str(ray.get_runtime_context().get_node_id())
