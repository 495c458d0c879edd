"""Submit runs to Ray, each with the CPUs and GPUs that its proxy declares, longest first.

A run is one task. If its worker or node dies, the task is submitted again and resumes from the run's newest
checkpoint. A run with several ranks is a task that holds no resources and lets Ray Train start its ranks
(`rank_group`); such runs are submitted first. Runs are independent: a failing run records its reason and does not
affect the others. The longest run goes first, because a long run that starts last leaves the cluster idle.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence

from mixproof.ledger.disk_errors import storage_error
from mixproof.ledger.errors import MixproofError
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.resources import Needs
from mixproof.pipeline.cluster.task_logs import log_context
from mixproof.train.outcome import INTERRUPTED
from mixproof.train.proxies import flops_of_tokens
from mixproof.train.record import TRAIN
from mixproof.train.request import RunRequest

FAILURE = "failure.txt"
MOST_DEATHS = 20
"""Worker or rank deaths allowed per run: a long run can lose its machine more than once, and every restart resumes."""

Reason = str | None
"""Why a run failed; None when it is done."""


def dispatch(
    requests: Sequence[RunRequest], cluster: Cluster, on_end: Callable[[RunRequest, Reason], None]
) -> list[Reason]:
    """Train every run.

    Args:
        requests: unfinished runs.
        cluster: where they run.
        on_end: called when a run ends.

    Returns:
        Why each run failed, in the order of `requests`.

    Raises:
        RequestError: when this machine cannot provide the resources that a proxy declares.
    """
    longest_first = sorted(requests, key=_flops, reverse=True)
    reasons_by_key: dict[str, Reason] = {}
    for multi_rank in (True, False):
        chosen = [request for request in longest_first if (request.resources.ranks > 1) is multi_rank]
        reasons = cluster.run(
            _train_task,
            [(request.model_dump_json(),) for request in chosen],
            label="train",
            needs=[_needs(request) for request in chosen],
            max_retries=MOST_DEATHS,
            repeatable=False,  # a second attempt at a run takes it over from the first
            on_failure=reason_of,
            on_result=_end_of(chosen, on_end),
        )
        reasons_by_key.update(zip((request.key for request in chosen), reasons, strict=True))
    return [reasons_by_key[request.key] for request in requests]


def reason_of(error: MixproofError) -> str:
    """Why a run stopped: the error's text, marked where Ray lost the task instead of the training failing."""
    from ray.exceptions import RayError

    return f"{INTERRUPTED}{error}" if isinstance(error.__cause__, RayError) else str(error)


def _end_of(
    requests: Sequence[RunRequest], on_end: Callable[[RunRequest, Reason], None]
) -> Callable[[int, Reason], None]:
    """`on_end` as the cluster calls it: with the index of a call instead of the request."""

    def on_result(index: int, reason: Reason) -> None:
        on_end(requests[index], reason)

    return on_result


def _flops(request: RunRequest) -> int:
    """Floating-point operations of the whole run."""
    budget = request.budget
    return flops_of_tokens(request.shape, request.tokenizer.vocab_size, budget.tokens_by_length(budget.samples))


def _needs(request: RunRequest) -> Needs:
    resources = request.resources
    return Needs(resources.cpus, resources.gpus, workers=resources.ranks if resources.ranks > 1 else 0)


def _train_task(request_json: str) -> Reason:
    """Train one run in a worker."""
    from mixproof.train.loop.run import train_run

    from .rank_group import train_on_ranks  # imports torch, which only a worker needs

    request = RunRequest.model_validate_json(request_json)
    try:
        with log_context(request.name):
            if request.resources.ranks > 1:
                return train_on_ranks(request, MOST_DEATHS)
            return train_run(request).reason
    except MixproofError:
        raise
    except Exception as error:  # an error in one run must not end the others; it is stored and reported
        if (shown := storage_error(error)) is not None:
            raise shown from error
        store, path = Store(request.store), f"{TRAIN}/{request.key}/{FAILURE}"
        store.write(path, traceback.format_exc().encode())
        return f"{type(error).__name__}: {error}; see {store.location(path)}"
