"""What a comparison of specs needs for tasks in the objective: stored scores, and the anchor."""

from __future__ import annotations

from collections.abc import Sequence

from mixproof.ledger.errors import RequestError
from mixproof.train.compare.task_scores import TaskScore
from mixproof.train.evaluate.external.external import benchmarks_of_objective
from mixproof.train.evaluate.external.external_results import Benchmark
from mixproof.train.evaluate.external.task_results import read_task_scores, task_identities
from mixproof.train.outcome import RunOutcome

from .request import Request


def task_scores(requests: Sequence[Request], runs: Sequence[Sequence[RunOutcome]]) -> dict[str, dict[str, TaskScore]]:
    """Read the scores of all runs on the tasks of the objective, by the run's key and by part.

    Raises:
        RequestError: when two specs have different files for the same task.
        DamagedFileError: when a stored result does not match its checksum.
    """
    found: dict[str, dict[str, TaskScore]] = {}
    identities: dict[str, object] = {}
    for request, outcomes in zip(requests, runs, strict=True):
        objective = request.spec.objective
        if objective is None or not objective.tasks:
            continue
        benchmarks = benchmarks_of_tasks(request)
        for name, identity in task_identities(benchmarks, objective.tasks).items():
            if identities.setdefault(name, identity) != identity:
                raise RequestError(
                    f"{request.loaded.path}: objective.tasks.{name}: the files of this task differ between the specs; "
                    "only scores on the same questions can be compared"
                )
        found |= read_task_scores(outcomes, benchmarks, request.store, objective.tasks)
    return found


def benchmarks_of_tasks(request: Request) -> list[Benchmark]:
    """The sets and tasks of a spec that its objective needs; none if it has no tasks."""
    return benchmarks_of_objective(request.spec, request.loaded.base)


def anchor_of(requests: Sequence[Request]) -> str | None:
    """The mixture that a winner is compared with: `objective.anchor`, or the one with `rule: proportional`."""
    for request in requests:
        if request.spec.objective is not None and request.spec.objective.anchor is not None:
            return request.spec.objective.anchor
    proportional = {
        name for request in requests for name, one in request.spec.mixtures.items() if one.rule == "proportional"
    }
    return proportional.pop() if len(proportional) == 1 else None
