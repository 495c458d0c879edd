"""Score finished runs on texts and tasks of others: `external` in the spec, after training, once for each run.

A result lies in the run's folder under `external/`, named by what was scored on: the contents of the set or of the task
files, and the protocol. It is no part of the run: its record and key are what they were, and a set named later is
scored on the weights that are there. The loss of every document, and of the right answer of every question, stands in
a Parquet file beside it, whose checksum it holds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import sha256_of
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster import Cluster
from mixproof.pipeline.needs import Needs

from .external_sets import ExternalSet, find_external_sets
from .external_tasks import TaskFolder, find_task_folder
from .outcome import RunOutcome
from .record import EVALUATION_PROTOCOL

EXTERNAL = "external"
EXTERNAL_VERSION = 1
"""Rises when the same model on the same texts or tasks would score otherwise."""
Wanted = ExternalSet | TaskFolder


@dataclass(frozen=True)
class ExternalScores:
    """What one run scored on everything that a spec names."""

    run: str
    """Its key."""
    sets: dict[str, dict[str, Any]]
    """By name: `bits_per_byte`, `loss` (nats per token), `tokens`, `bytes`, `documents`, `lossless`."""
    tasks: dict[str, dict[str, Any]]
    """By name: `bits_per_byte` of the right answers, `questions`, and the harness' metrics."""

    def to_json(self) -> dict[str, object]:
        """The form that `--json` prints."""
        return {"sets": self.sets, "tasks": self.tasks}


def find_external(spec: Spec, base: Path, store: Store) -> list[Wanted]:
    """Everything that a spec wants the finished runs of a store scored on, by contents.

    Raises:
        RequestError: as `find_external_sets` and `find_task_folder`, and where the runs are in an object store.
    """
    tasks = find_task_folder(spec, base)
    wanted: list[Wanted] = [*find_external_sets(spec, base), *([tasks] if tasks is not None else [])]
    if wanted and store.is_remote:
        raise RequestError(
            f"{spec.where('external')}: runs are scored on external texts and tasks in a folder, and {store} is an "
            "object store; train with a folder as --store, or take `external` out"
        )
    return wanted


def score_external(outcomes: Sequence[RunOutcome], wanted: Sequence[Wanted], cluster: Cluster) -> list[ExternalScores]:
    """Score every finished run on what it has not been scored on.

    Raises:
        RequestError: when a set has a record without text, or a task cannot be scored.
    """
    done = [Path(outcome.folder) for outcome in outcomes if outcome.done]
    left = [(folder, [one for one in wanted if not scores_path(folder, one).is_file()]) for folder in done]
    calls = [(str(folder), tuple(missing)) for folder, missing in left if missing]
    cluster.run(_score_task, calls, label="external", needs=[Needs()] * len(calls))
    cluster.count(run=len(calls), reused=len(done) - len(calls))
    return read_external(outcomes, wanted)


def read_external(outcomes: Sequence[RunOutcome], wanted: Sequence[Wanted]) -> list[ExternalScores]:
    """Read what finished runs have been scored on; what is not there yet is left out."""
    found = []
    for outcome in outcomes:
        paths = [(one, scores_path(Path(outcome.folder), one)) for one in wanted] if outcome.done else []
        read = [(one, json.loads(path.read_bytes())["scores"]) for one, path in paths if path.is_file()]
        sets = {one.name: scores for one, scores in read if isinstance(one, ExternalSet)}
        tasks = {name: row for one, scores in read if isinstance(one, TaskFolder) for name, row in scores.items()}
        if read:
            found.append(ExternalScores(outcome.key, sets, tasks))
    return found


def scores_path(folder: Path, wanted: Wanted) -> Path:
    """Where the run in `folder` has what it scored on `wanted`."""
    identity = {"version": EXTERNAL_VERSION, "protocol": EVALUATION_PROTOCOL, **wanted.identity}
    return folder / EXTERNAL / f"{sha256_of(identity)}.json"


def _score_task(folder: str, wanted: Sequence[Wanted]) -> None:
    from .external_scoring import score_run  # it brings torch, which only a worker needs

    score_run(folder, wanted)
