"""One run on several ranks: data parallel over Ray Train workers, with gloo on CPUs and nccl on GPUs.

Ray Train starts the ranks together, provides the rendezvous, and restarts all of them when one dies. Every restart
resumes from the run's newest checkpoint, so the result equals that of an undisturbed run. Every rank reads its part of
the same global batches (`trainer`), so the order of samples does not depend on the number of ranks.

Ray Train retries every failure. An error that a restart cannot fix (a damaged file, out of memory, another attempt
that took over the run, a bug) is therefore written to a file that every rank checks first. RuntimeErrors are retried,
because torch raises one on a rank whose peer has died.
"""

from __future__ import annotations

import shutil
import traceback
from pathlib import Path
from typing import Any

import torch

from mixproof.ledger.errors import MixproofError
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.task_logs import log_level, worker_log
from mixproof.train.finished import failed_record
from mixproof.train.loop.run import train_run
from mixproof.train.record import TRAIN, run_folder
from mixproof.train.request import RunRequest

SCRATCH = ".ray_train"
"""In the run's folder while its ranks train: Ray Train's own files, and the error that ended the run."""


def fatal_error(key: str) -> str:
    """Name in the store of the error that ended the run `key`; ranks on all nodes read and write it."""
    return f"{TRAIN}/{key}/{SCRATCH}/end.txt"


def train_on_ranks(request: RunRequest, most_deaths: int) -> str | None:
    """Train a run on its declared number of ranks; return why the training failed, or None when it is done.

    Call it in a Ray task that holds no CPUs: the ranks get their own.

    Raises:
        MixproofError: the error that ended the run, or more than `most_deaths` rank deaths.
    """
    from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

    from mixproof.pipeline.cluster.results import reason

    store, ranks = Store(request.store), request.resources.ranks
    scratch, fatal = run_folder(store, request.key) / SCRATCH, fatal_error(request.key)
    shutil.rmtree(scratch, ignore_errors=True)
    store.remove([fatal])
    scratch.mkdir(parents=True)
    try:
        _trainer(request, scratch, most_deaths).fit()
        if text := store.read([fatal]).get(fatal):
            raise MixproofError(text.decode())
    except WorkerGroupError as error:
        raise MixproofError(f"one of {ranks} ranks died, {most_deaths + 1} times in all: {reason(error)}") from error
    except TrainingFailedError as error:
        raise MixproofError(f"the {ranks} ranks could not be started together: {reason(error)}") from error
    finally:
        store.remove([fatal])
        shutil.rmtree(scratch, ignore_errors=True)
    record = failed_record(store, request)
    return record.reason if record is not None else None


def _trainer(request: RunRequest, scratch: Path, most_deaths: int) -> Any:  # noqa: ANN401  ray.train loads here alone
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from .rank_network import RayNetwork

    resources = request.resources
    return TorchTrainer(
        _train_rank,
        train_loop_config={"request": request.model_dump_json(), "log_level": log_level()},
        scaling_config=ScalingConfig(
            num_workers=resources.ranks,
            use_gpu=resources.gpus > 0,
            resources_per_worker={"CPU": resources.cpus} | ({"GPU": resources.gpus} if resources.gpus else {}),
        ),
        torch_config=RayNetwork(backend="nccl" if resources.gpus else "gloo"),
        run_config=RunConfig(
            name="ranks", storage_path=str(scratch), failure_config=FailureConfig(max_failures=most_deaths)
        ),
    )


def _train_rank(config: dict[str, Any]) -> None:
    """Train as one rank; Ray Train's environment variables say which."""
    request = RunRequest.model_validate_json(config["request"])
    store, fatal = Store(request.store), fatal_error(request.key)
    if store.read([fatal]):
        return
    try:
        with worker_log(f"train, {request.name}", config["log_level"]):
            train_run(request)
    except (MixproofError, torch.OutOfMemoryError) as error:
        store.write(fatal, str(error).encode())
    except RuntimeError:
        raise
    except Exception:  # noqa: BLE001  every restart would raise it again; it is stored and reported
        store.write(fatal, traceback.format_exc().encode())
