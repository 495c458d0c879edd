"""Stored scores of runs on tasks and own questions, question by question, for the objective of a comparison."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.store import Store
from mixproof.ledger.store.receipt import unseal
from mixproof.mixtures.blocks.mixture import TaskWeight
from mixproof.train.compare.task_scores import TaskScore, part_of
from mixproof.train.outcome import RunOutcome

from .external_results import Benchmark, result_path
from .external_sets import ExternalSet
from .external_tasks import TaskFolder
from .question_sets import QUESTION


def read_task_scores(
    outcomes: Sequence[RunOutcome], benchmarks: Sequence[Benchmark], store: Store, tasks: Mapping[str, TaskWeight]
) -> dict[str, dict[str, TaskScore]]:
    """Read the scores of finished runs on the tasks of an objective, by the run's key and by part.

    Runs and tasks without a stored result are left out.

    Raises:
        DamagedFileError: when a result does not match its checksum.
        RequestError: when a task does not have the score that the objective names.
    """
    found: dict[str, dict[str, TaskScore]] = {}
    for outcome in outcomes:
        for benchmark in benchmarks if outcome.done else ():
            names = {name: rows for name, rows in _rows_of(benchmark).items() if name in tasks}
            path = result_path(outcome.key, benchmark)
            if not names or not store.path(path).is_file():
                continue
            table = _read(store, path)
            for name, rows in names.items():
                answers = table.filter(pc.equal(table["task"], rows))
                found.setdefault(outcome.key, {})[part_of(name)] = _score(name, answers, tasks[name].score)
    return found


def task_identities(benchmarks: Sequence[Benchmark], tasks: Mapping[str, TaskWeight]) -> dict[str, object]:
    """What the scores on each task depend on; only equal ones may be compared."""
    return {name: one.identity for one in benchmarks for name in _rows_of(one) if name in tasks}


def _rows_of(benchmark: Benchmark) -> dict[str, str]:
    """By task: its name in the column `task` of the result."""
    if isinstance(benchmark, ExternalSet):
        return {}
    return {name: name for name in benchmark.names} if isinstance(benchmark, TaskFolder) else {benchmark.name: QUESTION}


def _read(store: Store, path: str) -> pa.Table:
    table = f"{path.removesuffix('.json')}.parquet"
    raw = store.read([path, table])
    try:
        stated = json.loads(unseal(raw[path]))["losses_sha256"]
    except ValueError as error:
        again = "delete it, and the next `train` scores again"
        raise DamagedFileError(store.location(path), "whole file", f"{error}; {again}") from None
    if table not in raw or hashlib.sha256(raw[table]).hexdigest() != stated:
        reason = "missing, or its SHA-256 is not the one in the result; delete both, and the next `train` scores again"
        raise DamagedFileError(store.location(table), "whole file", reason)
    return pq.read_table(BytesIO(raw[table]))


def _score(name: str, answers: pa.Table, score: str) -> TaskScore:
    column, make, unit = _KINDS[score]
    values = answers[column]
    if values.null_count:
        raise RequestError(f"objective.tasks.{name}: the task has no {score}; use bits_per_byte")
    amounts = make(values.to_numpy().astype(np.float64))
    sizes = answers["gold_bytes"].to_numpy() if score == "bits_per_byte" else np.ones(len(amounts))
    return TaskScore(amounts, sizes.astype(np.float64), unit)


_Make = Callable[[np.ndarray[tuple[int], np.dtype[np.float64]]], np.ndarray[tuple[int], np.dtype[np.float64]]]
_KINDS: dict[str, tuple[str, _Make, str]] = {
    "bits_per_byte": ("gold_nats", lambda nats: nats / np.log(2), "bits per byte"),
    "accuracy": ("correct", lambda correct: 1 - correct, "wrong answers"),
    "soft_accuracy": ("gold_share", lambda share: 1 - share, "probability of wrong answers"),
}
"""By score: its column, the amounts that are minimized, and their unit."""
