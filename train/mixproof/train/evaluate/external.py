"""Score finished runs on texts and tasks of others: `external` in the spec, after training, once for each run.

A result lies in the run's folder under `external/`, named by what was scored on: the contents of the set or of the task
files, and the protocol. It is no part of the run: its record and key are what they were, and a set named later is
scored on the weights that are there. The loss of every document, and of the right answer of every question, stands in
a Parquet file beside it, whose checksum it holds, before its own as in a receipt; the audit of the run reads both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.receipt import unseal
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.resources import Needs
from mixproof.train.outcome import RunOutcome

from .external_names import Wanted, scores_name
from .external_sets import ExternalSet, find_external_sets
from .external_tasks import TaskFolder, find_task_folder


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


def find_external(spec: Spec, base: Path) -> list[Wanted]:
    """Everything that a spec wants its finished runs scored on, by contents.

    Raises:
        RequestError: as `find_external_sets` and `find_task_folder`.
    """
    tasks = find_task_folder(spec, base)
    return [*find_external_sets(spec, base), *([tasks] if tasks is not None else [])]


def score_external(
    outcomes: Sequence[RunOutcome], wanted: Sequence[Wanted], store: Store, cluster: Cluster
) -> list[ExternalScores]:
    """Score every finished run on what it has not been scored on.

    Raises:
        RequestError: when a set has a record without text, or a task cannot be scored.
        DamagedFileError: when a result that is there is not what was written.
    """
    done = [outcome for outcome in outcomes if outcome.done]
    left = [(run, [one for one in wanted if not store.path(scores_name(run.key, one)).is_file()]) for run in done]
    calls = [(run.location, tuple(missing)) for run, missing in left if missing]
    cluster.run(_score_task, calls, label="external", needs=[Needs()] * len(calls))
    cluster.count(run=len(calls), reused=len(done) - len(calls))
    return read_external(outcomes, wanted, store)


def read_external(outcomes: Sequence[RunOutcome], wanted: Sequence[Wanted], store: Store) -> list[ExternalScores]:
    """Read what finished runs have been scored on; what is not there yet is left out.

    Raises:
        DamagedFileError: when a result is not what was written.
    """
    found = []
    for outcome in outcomes:
        names = {scores_name(outcome.key, one): one for one in wanted} if outcome.done else {}
        read = [(names[name], _scores(store.location(name), raw)) for name, raw in store.read(list(names)).items()]
        sets = {one.name: scores for one, scores in read if isinstance(one, ExternalSet)}
        tasks = {name: row for one, scores in read if isinstance(one, TaskFolder) for name, row in scores.items()}
        if read:
            found.append(ExternalScores(outcome.key, sets, tasks))
    return found


def _scores(place: str, raw: bytes) -> dict[str, Any]:
    try:
        scores: dict[str, Any] = json.loads(unseal(raw))["scores"]
    except ValueError as error:
        raise DamagedFileError(place, "whole file", f"{error}; delete it, and the next `train` scores again") from None
    return scores


def _score_task(place: str, wanted: Sequence[Wanted]) -> None:
    from .external_scoring import score_run  # it brings torch, which only a worker needs

    score_run(place, wanted)
