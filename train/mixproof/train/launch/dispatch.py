"""Send runs to Ray: each with the processors and GPUs that its proxy declares, the longest first.

A run is one task; a task whose worker or node died is sent again and goes on from the run's newest checkpoint. A run
of several ranks is a task that holds nothing and has Ray Train start its ranks (`gang.py`); these runs are sent before
the others. Runs know nothing of each other: one that fails leaves its reason and the others alone. The longest run
first, because a long one that starts last is waited for by an idle cluster.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence

from mixproof.ledger.errors import MixproofError
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.resources import Needs
from mixproof.pipeline.cluster.task_logs import log_context
from mixproof.train.proxies import flops_per_token
from mixproof.train.record import TRAIN
from mixproof.train.request import RunRequest

FAILURE = "failure.txt"
MOST_DEATHS = 20
"""Dead workers or ranks that one run may have: a long run loses its machine more than once, and every start resumes."""

Reason = str | None
"""Why a run broke off; None when it is done."""


def dispatch(
    requests: Sequence[RunRequest], cluster: Cluster, on_end: Callable[[RunRequest, Reason], None]
) -> list[Reason]:
    """Train every run.

    Args:
        requests: the runs; none of them finished.
        cluster: where they run.
        on_end: called as a run ends.

    Returns:
        Why each broke off, in the order of `requests`.

    Raises:
        RequestError: when this machine can never give a run what its proxy declares.
    """
    longest_first = sorted(requests, key=_operations, reverse=True)
    reason_of: dict[str, Reason] = {}
    for many in (True, False):
        chosen = [request for request in longest_first if (request.resources.ranks > 1) is many]
        reasons = cluster.run(
            _train_task,
            [(request.model_dump_json(),) for request in chosen],
            label="train",
            needs=[_needs(request) for request in chosen],
            passes_on=many,
            max_retries=MOST_DEATHS,
            on_failure=str,
            on_result=_telling(chosen, on_end),
        )
        reason_of.update(zip((request.key for request in chosen), reasons, strict=True))
    return [reason_of[request.key] for request in requests]


def _telling(
    requests: Sequence[RunRequest], on_end: Callable[[RunRequest, Reason], None]
) -> Callable[[int, Reason], None]:
    def tell(place: int, reason: Reason) -> None:
        on_end(requests[place], reason)

    return tell


def _operations(request: RunRequest) -> int:
    """Floating-point operations of the whole run."""
    budget = request.budget
    return budget.tokens_planned * flops_per_token(request.shape, request.tokenizer.vocab_size, budget.sequence_length)


def _needs(request: RunRequest) -> Needs:
    resources = request.resources
    return Needs(resources.ranks * resources.cpus, resources.ranks * resources.gpus)


def _train_task(request_json: str) -> Reason:
    """Train one run in a worker."""
    from mixproof.train.loop.run import train_run

    from .rank_group import train_on_ranks  # they bring torch, which only a worker needs

    request = RunRequest.model_validate_json(request_json)
    try:
        with log_context(request.name):
            if request.resources.ranks > 1:
                return train_on_ranks(request, MOST_DEATHS)
            return train_run(request).reason
    except MixproofError:
        raise
    except Exception as error:  # noqa: BLE001  whatever ends one run must not end the others; it is kept and shown
        store, place = Store(request.store), f"{TRAIN}/{request.key}/{FAILURE}"
        store.write(place, traceback.format_exc().encode())
        return f"{type(error).__name__}: {error}; see {store.location(place)}"
