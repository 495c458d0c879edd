"""Task files that take something from outside their folder are refused before any work, each with a remedy."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mixproof.ledger.errors import RequestError
from mixproof.train.evaluate.external.offline import offline
from mixproof.train.evaluate.external.task_files import check_task_files

TASK = """\
task: quiz
dataset_path: json
dataset_kwargs:
  data_files: {test: quiz.json}
test_split: test
output_type: multiple_choice
doc_to_text: "{{q}}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one task, and a neighbour with files that it must not use."""
    inside, outside = tmp_path / "tasks", tmp_path / "outside"
    for path in (inside, outside, inside / "sub"):
        path.mkdir()
        (path / "quiz.json").write_text("[]")
        (path / "x.py").write_text("def f(doc):\n    return doc\n")
        (path / "common.yaml").write_text("doc_to_text: common\n")
    (inside / "quiz.yaml").write_text(TASK)
    return inside


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "include: ../outside/common.yaml",
            r"\.\./outside/common.yaml is outside the task folder .*copy the file",
        ),
        ("include: [sub/common.yaml, ../outside/common.yaml]", r"include \.\./outside/common.yaml is outside"),
        ("include: {outside}/common.yaml", "include .*/outside/common.yaml is outside"),
        (
            "dataset_kwargs: {{data_dir: ../outside}}",
            r"data_dir \.\./outside is outside .*move the data",
        ),
        ("dataset_kwargs: {{data_dir: ~/data}}", "data_dir ~/data is outside"),
        ("dataset_kwargs: {{data_files: ../outside/quiz.json}}", r"data_files \.\./outside/quiz.json is outside"),
        (
            "dataset_kwargs: {{data_files: {{test: [quiz.json, ../outside/*.json]}}}}",
            r"data_files .*json is outside",
        ),
        ("dataset_kwargs: {{data_files: 'http://127.0.0.1:1/quiz.json'}}", "data_files http://.* is outside"),
        ("dataset_kwargs: {{data_files: 'hf://datasets/o/n/quiz.json'}}", "data_files hf://.* is outside"),
        ("dataset_kwargs: {{data_files: 'zip://a.json::b.zip'}}", "data_files zip://.* is outside"),
        ("dataset_kwargs: {{data_files: quiz.json, cache_dir: /tmp/c}}", "dataset_kwargs.cache_dir is not supported"),
        ("dataset_kwargs: {{data_files: quiz.json, base_path: /tmp}}", "dataset_kwargs.base_path is not supported"),
        ("dataset_kwargs: {{data_files: quiz.json, revision: main}}", "dataset_kwargs.revision is not supported"),
        ("dataset_path: allenai/arc", "dataset_path 'allenai/arc' is not a local format; use one of json"),
        (
            "process_docs: !function ../outside/x.f",
            r"!function \.\./outside/x.f is not in a Python file",
        ),
        (
            "process_docs: !function lm_eval.tasks.hellaswag.utils.process_docs",
            "!function lm_eval.* is not in a",
        ),
        ("metric_list: [{{metric: !function os.path.join}}]", "!function os.path.join is not in a Python file"),
        ("metric_list: [{{metric: bleu, hf_evaluate: true}}]", "metric bleu is downloaded"),
        ("use_prompt: ../outside/common.yaml:p", "use_prompt .* takes its prompt from elsewhere"),
        ("custom_dataset: !function x.f", "custom_dataset is not supported"),
        ("class: !function x.f", "Python class"),
        ("output_type: generate_until", "output_type generate_until is not supported; use one of multiple_choice"),
    ],
)
def test_what_a_task_takes_from_elsewhere_is_refused(line: str, message: str, folder: Path) -> None:
    line = line.format(outside=folder.parent / "outside")
    key = line.partition(":")[0]
    lines, skip = [], False
    for own in TASK.splitlines():
        skip = own.startswith(f"{key}:") or (skip and own.startswith(" "))
        lines += [] if skip else [own]
    (folder / "quiz.yaml").write_text("\n".join([*lines, line, ""]))
    with pytest.raises(RequestError, match=message) as refused:
        check_task_files(folder, ["quiz"])
    assert str(folder / "quiz.yaml") in str(refused.value)


def test_what_is_in_the_folder_may_be_used(folder: Path) -> None:
    (folder / "quiz.yaml").write_text(
        "include: sub/common.yaml\n" + TASK.replace("quiz.json", "sub/*.json") + "process_docs: !function sub/x.f\n"
    )
    check_task_files(folder, ["quiz"])


def test_a_file_outside_that_the_python_of_a_task_names_is_refused(folder: Path) -> None:
    (folder / "quiz.yaml").write_text(TASK + "process_docs: !function sub/x.f\n")
    for named in (str(folder.parent / "outside/quiz.json"), "../../outside/quiz.json"):
        (folder / "sub/x.py").write_text(f"KEYS = open({named!r}).read()\ndef f(doc):\n    return doc\n")
        with pytest.raises(RequestError, match=r"x\.py names .*outside/quiz\.json, a file outside the task folder"):
            check_task_files(folder, ["quiz"])
    (folder / "sub/x.py").write_text("A = '/'\nB = '../quiz.json'\nC = '/no/such/file'\ndef f(doc):\n    return doc\n")
    check_task_files(folder, ["quiz"])


def test_other_tasks_of_the_folder_are_not_looked_at_unless_a_group_or_tag_reaches_them(folder: Path) -> None:
    (folder / "hub.yaml").write_text("task: hub\ndataset_path: allenai/arc\ntag: science\n")
    (folder / "broken.yaml").write_text("task: [\n")
    check_task_files(folder, ["quiz"])
    (folder / "all.yaml").write_text("group: everything\ntask: [quiz, {task: hub, num_fewshot: 2}]\n")
    (folder / "inline.yaml").write_text("group: inline\ntask: [{task: new, dataset_path: allenai/arc}]\n")
    for name in ("everything", "science", "inline"):
        with pytest.raises(RequestError, match="'allenai/arc' is not a local format"):
            check_task_files(folder, [name])


def test_a_task_that_is_not_there_is_named_with_those_that_are(folder: Path) -> None:
    with pytest.raises(RequestError, match="no task quizz; tasks defined there: quiz"):
        check_task_files(folder, ["quizz"])


def test_a_link_to_a_folder_is_refused_because_its_files_are_not_hashed(folder: Path) -> None:
    (folder / "link").symlink_to(folder.parent / "outside")
    with pytest.raises(RequestError, match="link: is a link to a folder, whose files are not hashed; copy"):
        check_task_files(folder, ["quiz"])


def test_no_code_connects_to_the_internet_while_tasks_run(folder: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    with offline(folder):
        assert Path.cwd() == folder
        with pytest.raises(ConnectionRefusedError, match="task files must not access the network"):
            socket.create_connection(address)
    socket.create_connection(address).close()
    listener.close()
