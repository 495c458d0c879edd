"""Tasks of lm-evaluation-harness, read from a local folder: accuracy, and bits per byte of the gold answers.

At 62M parameters accuracy is mostly noise, while the bits that a model needs for the gold answers fall steadily; both
are reported. Bits per byte = sum of -log2 p of the gold answers given their questions / UTF-8 bytes of those answers,
including the white space between question and answer. If a question has several gold answers, the likeliest counts.

Task files and their data (JSON, Parquet, CSV or text) are in one folder, so that the folder's content identifies a
result; nothing is downloaded. Python functions that task files refer to (`!function`) are run, as by the harness.
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
OUTPUT_TYPES = ("multiple_choice", "loglikelihood", "loglikelihood_rolling")
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class TaskFolder:
    """A folder of task files, identified by its content."""

    folder: str
    """Absolute path."""
    names: tuple[str, ...]
    """Tasks to score."""
    sha256: tuple[tuple[str, str], ...]
    """Path in the folder and SHA-256 of each file."""

    @property
    def identity(self) -> dict[str, object]:
        """What a score depends on."""
        return {"tasks": list(self.names), "files": [list(pair) for pair in self.sha256]}


@dataclass(frozen=True)
class GoldAnswer:
    """The score of one question's gold answer; its fields are the columns of the result's Parquet file."""

    task: str
    question: int
    """Index in the task's documents."""
    gold_nats: float
    """-ln p of the gold answer."""
    gold_bytes: int


@dataclass(frozen=True)
class TaskScores:
    """A model's scores on one task."""

    name: str
    metrics: dict[str, float]
    """From the harness: `acc`, `acc_norm` and the task's other metrics."""
    answers: tuple[GoldAnswer, ...]

    @property
    def bits_per_byte(self) -> float:
        """Of the gold answers."""
        nats = math.fsum(answer.gold_nats for answer in self.answers)
        return nats / math.log(2) / sum(answer.gold_bytes for answer in self.answers)


def find_task_folder(spec: Spec, base: Path) -> TaskFolder | None:
    """Find and hash the files of `external.tasks`; a relative folder starts at `base`.

    Raises:
        RequestError: when the folder does not exist, or the harness is not installed.
    """
    if spec.external is None or spec.external.tasks is None:
        return None
    where = spec.where("external", "tasks", "folder")
    folder = (base / spec.external.tasks.folder).resolve()
    if not folder.is_dir():
        raise RequestError(f"{where}: {folder} is not a folder")
    if importlib.util.find_spec("lm_eval") is None:
        raise RequestError(f"{where}: tasks need lm-evaluation-harness; `pip install 'mixproof[lm-eval]'` installs it")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    hashes = tuple((path.relative_to(folder).as_posix(), sha256_of_file(path)) for path in files)
    return TaskFolder(str(folder), spec.external.tasks.names, hashes)


def score_tasks(tasks: TaskFolder, model: Any) -> list[TaskScores]:  # noqa: ANN401  a HarnessModel: its import takes seconds
    """Run tasks on a model.

    Raises:
        RequestError: when a task is not in the folder, its data are elsewhere, or its output type is not supported.
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
            defined = ", ".join(sorted(manager.all_tasks)) or "none"
            raise RequestError(f"{tasks.folder}: no task {name}; tasks defined there: {defined}")
    try:
        loaded: dict[str, Any] = manager.load(list(tasks.names))["tasks"]
    except Exception as error:
        # task files hold their author's YAML and Python, which may raise anything; the author needs to see it
        raise RequestError(
            f"{tasks.folder}: tasks {', '.join(tasks.names)}: {type(error).__name__}: {error}"
        ) from error
    for name, task in loaded.items():
        _check(Path(tasks.folder), name, task)
    return loaded


def _check(folder: Path, name: str, task: Any) -> None:  # noqa: ANN401  a task of the harness
    """Check that a task can be scored and that its data are in the folder."""
    if task.OUTPUT_TYPE not in OUTPUT_TYPES:
        supported = ", ".join(OUTPUT_TYPES)
        raise RequestError(f"{folder}: task {name} has output_type {task.OUTPUT_TYPE}; supported: {supported}")
    path, options = task.config.dataset_path, task.config.dataset_kwargs or {}
    if path not in DATA_FORMATS:
        raise RequestError(
            f"{folder}: task {name}: dataset_path {path!r} is not a local format; use one of "
            f"{', '.join(DATA_FORMATS)} and list the files in dataset_kwargs.data_files"
        )
    for file in _strings(options.get("data_files")):
        if not (folder / file).resolve().is_relative_to(folder):
            raise RequestError(f"{folder}: task {name}: {file} is outside the folder; move the data into it")


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
    return TaskScores(name, metrics, tuple(_gold_answer(name, task, sample) for sample in results["samples"][name]))


def _gold_answer(name: str, task: Any, sample: Mapping[str, Any]) -> GoldAnswer:  # noqa: ANN401  a task of the harness
    nats = [-_log_likelihood(response) for response in sample["resps"]]
    texts = [arguments[-1] for arguments in sample["arguments"]]
    gold = min(_gold_indices(task, sample["doc"]), key=lambda index: nats[index])
    return GoldAnswer(name, int(sample["doc_id"]), nats[gold], len(texts[gold].encode()))


def _log_likelihood(response: Any) -> float:  # noqa: ANN401  of one repetition, alone or with whether it is greedy
    value = response[0]
    return float(value[0] if isinstance(value, tuple | list) else value)


def _gold_indices(task: Any, document: Mapping[str, Any]) -> list[int]:  # noqa: ANN401  a task of the harness
    """Indices of the gold answers among the requests of a question."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return [0]
    gold = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    if isinstance(gold, str):
        gold = task.doc_to_choice(document).index(gold)
    return list(gold) if isinstance(gold, list | tuple) else [int(gold)]


@contextlib.contextmanager
def _offline(folder: Path) -> Iterator[None]:
    """Run the block in the tasks' folder, without network access and with a temporary cache."""
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
