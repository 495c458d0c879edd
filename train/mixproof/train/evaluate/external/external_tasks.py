"""Tasks of lm-evaluation-harness, read from a local folder: accuracy, and bits per byte of the gold answers.

At 62M parameters accuracy is mostly noise, while the bits that a model needs for the gold answers fall steadily. All
scores are defined in `question_scores`; answers include the white space between question and answer.

Task files and their data (JSON, Parquet, CSV or text) are in one folder, so that the folder's content identifies a
result. Whatever is outside the folder is refused (`task_files`), and nothing is downloaded (`offline`). Python
functions that task files refer to (`!function`) are run, as by the harness.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2.exceptions import SecurityError

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.mixtures.spec import Spec

from .offline import offline
from .question_scores import QuestionScore, TaskScores, score_answer, score_choices
from .task_files import OUTPUT_TYPES, check_task_files
from .template_sandbox import sandboxed_templates


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


def find_task_folder(spec: Spec, base: Path) -> TaskFolder | None:
    """Find and hash the files of `external.tasks`; a relative folder starts at `base`.

    Raises:
        RequestError: when the folder does not exist, the harness is not installed, or a task uses something outside
            the folder.
    """
    if spec.external is None or spec.external.tasks is None:
        return None
    where = spec.where("external", "tasks", "folder")
    folder = (base / Path(spec.external.tasks.folder).expanduser()).resolve()
    if not folder.is_dir():
        raise RequestError(f"{where}: {folder} is not a folder")
    if importlib.util.find_spec("lm_eval") is None:
        raise RequestError(f"{where}: tasks need lm-evaluation-harness; `pip install 'mixproof[lm-eval]'` installs it")
    check_task_files(folder, spec.external.tasks.names)
    return TaskFolder(str(folder), spec.external.tasks.names, _hashes(folder))


def _hashes(folder: Path) -> tuple[tuple[str, str], ...]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    return tuple((path.relative_to(folder).as_posix(), sha256_of_file(path)) for path in files)


def score_tasks(tasks: TaskFolder, model: Any) -> list[TaskScores]:  # noqa: ANN401  a HarnessModel: its import takes seconds
    """Run tasks on a model.

    Raises:
        RequestError: when a task cannot be loaded, its output type is not supported, or a file of the folder changed
            since it was hashed.
    """
    from lm_eval.evaluator import simple_evaluate

    with offline(Path(tasks.folder)), sandboxed_templates():
        loaded = _load(tasks)
        try:
            results = simple_evaluate(
                model, tasks=list(loaded.values()), log_samples=True, bootstrap_iters=0, random_seed=0
            )
        except SecurityError as error:
            raise RequestError(
                f"{tasks.folder}: a template of tasks {', '.join(tasks.names)} does what templates may not: {error}"
            ) from error
    if _hashes(Path(tasks.folder)) != tasks.sha256:
        raise RequestError(f"{tasks.folder}: a file changed while tasks were scored; run the command again")
    return [_scores(name, task, results) for name, task in sorted(loaded.items())]


def _load(tasks: TaskFolder) -> dict[str, Any]:
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=tasks.folder, include_defaults=False)
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
    """Check that a task can be scored."""
    if task.OUTPUT_TYPE not in OUTPUT_TYPES:
        supported = ", ".join(OUTPUT_TYPES)
        raise RequestError(f"{folder}: task {name} has output_type {task.OUTPUT_TYPE}; supported: {supported}")


def _scores(name: str, task: Any, results: Mapping[str, Any]) -> TaskScores:  # noqa: ANN401  a task of the harness
    metrics = {
        key.removesuffix(",none"): float(value)
        for key, value in results["results"][name].items()
        if isinstance(value, int | float) and "_stderr" not in key and key not in ("alias", "sample_len")
    }
    return TaskScores(name, metrics, tuple(_question_score(name, task, sample) for sample in results["samples"][name]))


def _question_score(name: str, task: Any, sample: Mapping[str, Any]) -> QuestionScore:  # noqa: ANN401  a task of the harness
    nats = [-_log_likelihood(response) for response in sample["resps"]]
    texts = [arguments[-1] for arguments in sample["arguments"]]
    number = int(sample["doc_id"])
    if task.OUTPUT_TYPE == "multiple_choice":
        return score_choices(name, number, nats, texts, _gold_indices(task, sample["doc"]))
    if task.OUTPUT_TYPE == "loglikelihood":
        return score_answer(name, number, nats[0], texts[0], bool(sample["resps"][0][0][1]))
    return QuestionScore(name, number, nats[0], len(texts[0].encode()), None, None)


def _log_likelihood(response: Any) -> float:  # noqa: ANN401  of one repetition, alone or with whether it is greedy
    value = response[0]
    return float(value[0] if isinstance(value, tuple | list) else value)


def _gold_indices(task: Any, document: Mapping[str, Any]) -> list[int]:  # noqa: ANN401  a task of the harness
    """Indices of the gold answers among the requests of a question."""
    gold = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    if isinstance(gold, str):
        gold = task.doc_to_choice(document).index(gold)
    return list(gold) if isinstance(gold, list | tuple) else [int(gold)]
