"""Score finished runs on texts and tasks of others: `external` in the spec, after training, once for each run.

A result lies in the run's folder under `external/`, named by what was scored on: the contents of the set or of the task
files, and the protocol. It is no part of the run: its record and key are what they were, and a set named later is
scored on the weights that are there. The loss of every document, and of the right answer of every question, stands in
a Parquet file beside it, whose checksum it holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import sha256_of
from mixproof.ledger.store import Store, publish_bytes
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster import Cluster
from mixproof.pipeline.sent import Needs
from mixproof.tokenize.reference import load_reference

from .distributed import process_group
from .evaluate import EVALUATION_PROTOCOL, evaluate, scores_table
from .external_sets import ExternalSet, find_external_sets, read_external_set
from .external_tasks import TaskFolder, find_task_folder, score_tasks
from .family import RunOutcome
from .heldout_parts import is_lossless
from .weights import FinishedRun, load_model, open_finished_run

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
    left = [(folder, [one for one in wanted if not _path(folder, one).is_file()]) for folder in done]
    calls = [(str(folder), tuple(missing)) for folder, missing in left if missing]
    cluster.run(score_run, calls, label="external", needs=[Needs()] * len(calls))
    cluster.count(run=len(calls), reused=len(done) - len(calls))
    return read_external(outcomes, wanted)


def read_external(outcomes: Sequence[RunOutcome], wanted: Sequence[Wanted]) -> list[ExternalScores]:
    """Read what finished runs have been scored on; what is not there yet is left out."""
    found = []
    for outcome in outcomes:
        paths = [(one, _path(Path(outcome.folder), one)) for one in wanted] if outcome.done else []
        read = [(one, json.loads(path.read_bytes())["scores"]) for one, path in paths if path.is_file()]
        sets = {one.name: scores for one, scores in read if isinstance(one, ExternalSet)}
        tasks = {name: row for one, scores in read if isinstance(one, TaskFolder) for name, row in scores.items()}
        if read:
            found.append(ExternalScores(outcome.key, sets, tasks))
    return found


def _path(folder: Path, wanted: Wanted) -> Path:
    identity = {"version": EXTERNAL_VERSION, "protocol": EVALUATION_PROTOCOL, **wanted.identity}
    return folder / EXTERNAL / f"{sha256_of(identity)}.json"


def score_run(folder: str, wanted: Sequence[Wanted]) -> None:
    """Score one run on `wanted`, and write what it scored into its folder."""
    run = open_finished_run(Path(folder))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with process_group("cpu") as ranks:
            model = load_model(run, ranks.device)
            for one in wanted:
                score = _score_set if isinstance(one, ExternalSet) else _score_tasks
                _publish(run, one, *score(run, model, one, ranks.device))  # type: ignore[arg-type]
    finally:
        torch.set_num_threads(threads)


def _score_set(run: FinishedRun, model: Any, chosen: ExternalSet, device: torch.device) -> tuple[dict[str, Any], Any]:  # noqa: ANN401
    tokenizer = run.manifest().tokenizer
    reference = load_reference(str(run.store.path(tokenizer.path)))
    documents = read_external_set(chosen, reference, tokenizer.eod_id)
    length = run.record.sequence_length
    scores = evaluate(model, documents, eod_id=tokenizer.eod_id, sequence_length=length, device=device)
    row = {
        "bits_per_byte": scores.bits_per_byte,
        "loss": scores.loss,
        "tokens": scores.tokens,
        "bytes": scores.text_bytes,
        "documents": len(documents.file),
        "lossless": is_lossless(documents, reference.decode),
    }
    return row, scores_table([scores])


def _score_tasks(run: FinishedRun, model: Any, tasks: TaskFolder, device: torch.device) -> tuple[dict[str, Any], Any]:  # noqa: ANN401
    from .harness_model import HarnessModel  # the harness takes seconds to load

    tokenizer = run.manifest().tokenizer
    reference = load_reference(str(run.store.path(tokenizer.path)))
    length = run.record.sequence_length
    asked = HarnessModel(model, reference, eod_id=tokenizer.eod_id, sequence_length=length, device=device)
    scores = score_tasks(tasks, asked)
    rows = {
        one.name: {"bits_per_byte": one.bits_per_byte, "questions": len(one.answers), **one.metrics} for one in scores
    }
    answers = [vars(answer) for one in scores for answer in one.answers]
    return rows, pa.Table.from_pylist(answers)


def _publish(run: FinishedRun, wanted: Wanted, row: dict[str, Any], table: Any) -> None:  # noqa: ANN401  pyarrow ships no types
    path = _path(run.folder, wanted)
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    path.parent.mkdir(exist_ok=True)
    publish_bytes(buffer.getvalue(), path.with_suffix(".parquet"))
    statement = {
        "run": run.record.key,
        "of": wanted.identity,
        "scores": row,
        "losses_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
    }
    publish_bytes((json.dumps(statement, sort_keys=True, indent=1) + "\n").encode(), path)
