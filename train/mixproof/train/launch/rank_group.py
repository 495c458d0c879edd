"""One run on many ranks: data parallel over the workers of Ray Train, gloo on CPUs and nccl on GPUs.

Ray Train starts the ranks together, gives them a rendezvous, and starts all of them again when one dies; each start
goes on from the run's newest checkpoint, so the run ends as an undisturbed one does. Every rank reads its part of the
same global batches (`trainer.py`), so the order of the blend does not depend on their number.

What no further start would mend (a damaged file, too little memory, another attempt that took over, a fault of ours) is
left in a file that every rank looks at first: Ray Train itself knows only success and another try. A RuntimeError is
tried again, because that is what torch raises on a rank whose neighbour has died.
"""

from __future__ import annotations

import shutil
import traceback
from typing import Any

import torch

from mixproof.ledger.errors import MixproofError
from mixproof.ledger.store import Store, publish_bytes
from mixproof.pipeline.cluster.task_logs import log_level, worker_log
from mixproof.train.finished import failed_record
from mixproof.train.loop.run import train_run
from mixproof.train.record import run_folder
from mixproof.train.request import RunRequest

WORKPLACE = ".ray_train"
"""In the run's folder while its ranks train: what Ray Train notes of itself, and what ended the run for good."""
END = "end.txt"


def train_on_ranks(request: RunRequest, most_deaths: int) -> str | None:
    """Train a run on as many ranks as it asks for; return why its training failed, None when it is done.

    Call it where Ray runs, in a task that holds no processors: the ranks get their own.

    Raises:
        MixproofError: what ended the run for good, or more dead ranks than `most_deaths`.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    store, resources = Store(request.store), request.resources
    workplace = run_folder(store, request.key) / WORKPLACE
    shutil.rmtree(workplace, ignore_errors=True)
    workplace.mkdir(parents=True)
    trainer = TorchTrainer(
        _train_rank,
        train_loop_config={"request": request.model_dump_json(), "log_level": log_level()},
        scaling_config=ScalingConfig(
            num_workers=resources.ranks,
            use_gpu=resources.gpus > 0,
            resources_per_worker={"CPU": resources.cpus} | ({"GPU": resources.gpus} if resources.gpus else {}),
        ),
        torch_config=TorchConfig(backend="nccl" if resources.gpus else "gloo"),
        run_config=RunConfig(
            name="ranks", storage_path=str(workplace), failure_config=FailureConfig(max_failures=most_deaths)
        ),
    )
    try:
        trainer.fit()
        if (workplace / END).is_file():
            raise MixproofError((workplace / END).read_text())
    except TrainingFailedError as error:
        raise MixproofError(f"its {resources.ranks} ranks died more than {most_deaths} times: {error}") from error
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    record = failed_record(store, request)
    return record.reason if record is not None else None


def _train_rank(config: dict[str, Any]) -> None:
    """Train as one rank; Ray Train has set the environment that says which."""
    request = RunRequest.model_validate_json(config["request"])
    end = run_folder(Store(request.store), request.key) / WORKPLACE / END
    if end.is_file():
        return
    try:
        with worker_log(f"train, {request.name}", config["log_level"]):
            train_run(request)
    except (MixproofError, torch.OutOfMemoryError) as error:
        publish_bytes(str(error).encode(), end)
    except RuntimeError:
        raise
    except Exception:  # noqa: BLE001  it would come again with every start; it is kept and shown
        publish_bytes(traceback.format_exc().encode(), end)
