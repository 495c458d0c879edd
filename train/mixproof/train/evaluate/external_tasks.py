"""Tasks of lm-evaluation-harness from files of one's own: accuracies, and bits per byte of the right answers.

Accuracy of a model of 62M parameters is mostly noise, while the bits that it needs for the right answers fall steadily;
both are given. Bits per byte = sum of -log2 p of the right answers behind their questions / UTF-8 bytes of those
answers, with the white space that stands between. Of several right answers the likeliest counts.

Task files lie in one folder with their data, in JSON, Parquet, CSV or text, so that a result is known by the folder's
contents; nothing is fetched. Python that the files name (`!function`) runs, as the harness does it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.mixtures.spec import Spec

DATA_FORMATS = ("json", "parquet", "csv", "text", "arrow")
"""What `dataset_path` may be."""
KINDS = ("multiple_choice", "loglikelihood", "loglikelihood_rolling")
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class TaskFolder:
    """Task files by their contents."""

    folder: str
    """Absolute."""
    names: tuple[str, ...]
    sha256: tuple[tuple[str, str], ...]
    """Of each file by its place in the folder."""

    @property
    def identity(self) -> dict[str, object]:
        """What decides a score on it."""
        return {"tasks": list(self.names), "files": [list(pair) for pair in self.sha256]}


@dataclass(frozen=True)
class Answered:
    """One question."""

    task: str
    question: int
    """Place in the task's documents."""
    gold_nats: float
    """-ln p of the right answer."""
    gold_bytes: int


@dataclass(frozen=True)
class TaskScores:
    """What a model scored on one task."""

    name: str
    metrics: dict[str, float]
    """As the harness gives them: `acc`, `acc_norm` and what else the task asks for."""
    answers: tuple[Answered, ...]

    @property
    def bits_per_byte(self) -> float:
        """Of the right answers."""
        nats = math.fsum(answer.gold_nats for answer in self.answers)
        return nats / math.log(2) / sum(answer.gold_bytes for answer in self.answers)


def find_task_folder(spec: Spec, base: Path) -> TaskFolder | None:
    """Find and hash the files of `external.tasks`; a relative folder starts at `base`.

    Raises:
        RequestError: when there is no such folder, or the harness is not installed.
    """
    if spec.external is None or spec.external.tasks is None:
        return None
    where = spec.where("external", "tasks", "folder")
    folder = (base / spec.external.tasks.folder).resolve()
    if not folder.is_dir():
        raise RequestError(f"{where}: {folder} is no folder")
    if importlib.util.find_spec("lm_eval") is None:
        raise RequestError(f"{where}: tasks are run by lm-evaluation-harness; pip install 'mixproof[lm-eval]'")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    hashes = tuple((path.relative_to(folder).as_posix(), sha256_of_file(path)) for path in files)
    return TaskFolder(str(folder), spec.external.tasks.names, hashes)


def score_tasks(tasks: TaskFolder, model: Any) -> list[TaskScores]:  # noqa: ANN401  a HarnessModel: its import takes seconds
    """Run tasks on a model.

    Raises:
        RequestError: when a task is not in the files, its data lie elsewhere, or it is of a kind that is not scored.
    """
    from lm_eval.evaluator import simple_evaluate

    with _offline(Path(tasks.folder)):
        loaded = _load(tasks)
        results = simple_evaluate(
            model, tasks=list(loaded.values()), log_samples=True, bootstrap_iters=0, random_seed=0
        )
    return [_scores(name, task, results) for name, task in sorted(loaded.items())]


def _load(tasks: TaskFolder) -> dict[str, Any]:
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=tasks.folder, include_defaults=False)
    for name in tasks.names:
        if name not in manager.all_tasks:
            raise RequestError(f"{tasks.folder}: no task {name}; its files have {', '.join(sorted(manager.all_tasks))}")
    try:
        loaded: dict[str, Any] = manager.load(list(tasks.names))["tasks"]
    except Exception as error:
        # task files hold whatever their author wrote, Python too: what it raises is the author's to see
        raise RequestError(
            f"{tasks.folder}: tasks {', '.join(tasks.names)}: {type(error).__name__}: {error}"
        ) from error
    for name, task in loaded.items():
        _check(Path(tasks.folder), name, task)
    return loaded


def _check(folder: Path, name: str, task: Any) -> None:  # noqa: ANN401  a task of the harness
    """Hold a task to what can be scored and known by its folder."""
    if task.OUTPUT_TYPE not in KINDS:
        raise RequestError(f"{folder}: task {name} is {task.OUTPUT_TYPE}; proxies are scored on {', '.join(KINDS)}")
    path, options = task.config.dataset_path, task.config.dataset_kwargs or {}
    if path not in DATA_FORMATS:
        raise RequestError(
            f"{folder}: task {name}: dataset_path {path!r} is not on this disk; take one of {', '.join(DATA_FORMATS)} "
            "and name the files in dataset_kwargs.data_files"
        )
    for file in _strings(options.get("data_files")):
        if not (folder / file).resolve().is_relative_to(folder):
            raise RequestError(f"{folder}: task {name}: {file} lies outside; put the data beside the task files")


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _strings(item)


def _scores(name: str, task: Any, results: Mapping[str, Any]) -> TaskScores:  # noqa: ANN401  a task of the harness
    metrics = {
        key.removesuffix(",none"): float(value)
        for key, value in results["results"][name].items()
        if isinstance(value, int | float) and "_stderr" not in key and key not in ("alias", "sample_len")
    }
    return TaskScores(name, metrics, tuple(_answered(name, task, sample) for sample in results["samples"][name]))


def _answered(name: str, task: Any, sample: Mapping[str, Any]) -> Answered:  # noqa: ANN401  a task of the harness
    nats = [-_first(response) for response in sample["resps"]]
    texts = [arguments[-1] for arguments in sample["arguments"]]
    place = min(_right(task, sample["doc"]), key=lambda number: nats[number])
    return Answered(name, int(sample["doc_id"]), nats[place], len(texts[place].encode()))


def _first(response: Any) -> float:  # noqa: ANN401  one repetition of (log-likelihood, greedy), or the first alone
    value = response[0]
    return float(value[0] if isinstance(value, tuple | list) else value)


def _right(task: Any, document: Mapping[str, Any]) -> list[int]:  # noqa: ANN401  a task of the harness
    """Places of the right answers among the requests of a question."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return [0]
    gold = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    if isinstance(gold, str):
        gold = task.doc_to_choice(document).index(gold)
    return list(gold) if isinstance(gold, list | tuple) else [int(gold)]


@contextlib.contextmanager
def _offline(folder: Path) -> Iterator[None]:
    """In the tasks' folder, with nothing fetched and nothing kept."""
    before = {name: os.environ.get(name) for name in OFFLINE}
    os.environ.update(OFFLINE)
    import datasets

    cache = datasets.config.HF_DATASETS_CACHE
    try:
        with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(folder):
            datasets.config.HF_DATASETS_CACHE = Path(scratch)
            yield
    finally:
        datasets.config.HF_DATASETS_CACHE = cache
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
