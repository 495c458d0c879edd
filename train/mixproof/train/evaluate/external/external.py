"""Score finished runs on external evaluation sets and tasks: `external` in the spec, once per run, after training.

A result is stored in the run's folder under `external/`. Its name is a hash of the content of the set or of the task
files, and of the protocol. Results are not part of the run: its record and key do not change, and a set that is added
to the spec later is scored with the existing weights. A Parquet file beside each result holds the loss of every
document, or the scores of every question. The result holds that file's checksum, then its own, like a
receipt. The audit of a run reads both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.store import Store
from mixproof.ledger.store.receipt import unseal
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.resources import Needs
from mixproof.train.outcome import RunOutcome

from .external_results import Benchmark, result_path
from .external_sets import ExternalSet, find_external_sets
from .external_tasks import TaskFolder, find_task_folder
from .question_sets import QUESTION, QuestionSet, find_question_sets
from .task_results import task_identities


@dataclass(frozen=True)
class ExternalScores:
    """One run's scores on all external sets and tasks of a spec."""

    run: str
    """The run's key."""
    sets: dict[str, dict[str, Any]]
    """By name: `bits_per_byte`, `loss` (nats per token), `tokens`, `bytes`, `documents`, `lossless`."""
    tasks: dict[str, dict[str, Any]]
    """By name: `bits_per_byte` of the gold answers, accuracies, `questions`, and the harness's metrics."""

    def to_json(self) -> dict[str, object]:
        """The form that `--json` prints."""
        return {"sets": self.sets, "tasks": self.tasks}


def find_external(spec: Spec, base: Path) -> list[Benchmark]:
    """Find and hash all external sets and tasks of a spec.

    Raises:
        RequestError: see `find_external_sets`, `find_question_sets` and `find_task_folder`.
    """
    tasks = find_task_folder(spec, base)
    sets: list[Benchmark] = [*find_external_sets(spec, base), *find_question_sets(spec, base)]
    return [*sets, *([tasks] if tasks is not None else [])]


def benchmarks_of_objective(spec: Spec, base: Path) -> list[Benchmark]:
    """The sets and tasks of a spec that its objective needs; none if it has no tasks.

    Raises:
        RequestError: see `find_external`.
    """
    if spec.objective is None or not spec.objective.tasks:
        return []
    tasks = spec.objective.tasks
    return [one for one in find_external(spec, base) if task_identities([one], tasks)]


def score_external(
    outcomes: Sequence[RunOutcome], benchmarks: Sequence[Benchmark], store: Store, cluster: Cluster
) -> list[ExternalScores]:
    """Score every finished run on the benchmarks that it has no result for.

    Raises:
        RequestError: when a record of a set has no text, or a task cannot be scored.
        DamagedFileError: when a stored result does not match its checksum.
    """
    done = [outcome for outcome in outcomes if outcome.done]
    calls = []
    for run in done:
        by_path = {result_path(run.key, benchmark): benchmark for benchmark in benchmarks}
        missing = tuple(benchmark for path, benchmark in by_path.items() if not store.path(path).is_file())
        if missing:
            calls.append((run.location, missing))
    cluster.run(_score_task, calls, label="external", needs=[Needs()] * len(calls))
    cluster.count(run=len(calls), reused=len(done) - len(calls))
    return read_external(outcomes, benchmarks, store)


def read_external(
    outcomes: Sequence[RunOutcome], benchmarks: Sequence[Benchmark], store: Store
) -> list[ExternalScores]:
    """Read the stored results of finished runs; missing results are left out.

    Two sets of equal content share one stored result; both are returned.

    Raises:
        DamagedFileError: when a stored result does not match its checksum.
    """
    found = []
    for outcome in outcomes:
        path_of = {benchmark: result_path(outcome.key, benchmark) for benchmark in benchmarks if outcome.done}
        raw_of = store.read(list(dict.fromkeys(path_of.values())))
        scores_of = {path: _scores(store.location(path), raw) for path, raw in raw_of.items()}
        read = [(benchmark, scores_of[path]) for benchmark, path in path_of.items() if path in scores_of]
        sets = {benchmark.name: scores for benchmark, scores in read if isinstance(benchmark, ExternalSet)}
        tasks = {name: row for item, scores in read if isinstance(item, TaskFolder) for name, row in scores.items()}
        tasks |= {item.name: scores[QUESTION] for item, scores in read if isinstance(item, QuestionSet)}
        if read:
            found.append(ExternalScores(outcome.key, sets, tasks))
    return found


def _scores(path: str, raw: bytes) -> dict[str, Any]:
    try:
        scores: dict[str, Any] = json.loads(unseal(raw))["scores"]
    except ValueError as error:
        raise DamagedFileError(path, "whole file", f"{error}; delete it, and the next `train` scores again") from None
    return scores


def _score_task(run_path: str, benchmarks: Sequence[Benchmark]) -> None:
    from .external_scoring import score_run  # imports torch, which only a worker needs

    score_run(run_path, benchmarks)
