"""External sets and tasks: scores against plain arithmetic on the model's own logits, and what is refused."""

from __future__ import annotations

import json
import math
import pydoc_data.topics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.load import load_spec
from mixproof.tokenize.tokenizer.sentencepiece import load_processor
from mixproof.train.audit.run import audit_run
from mixproof.train.checkpoint.weights import load_model, open_finished_run
from mixproof.train.distributed import process_group
from mixproof.train.evaluate.external.external import ExternalScores, find_external, read_external
from mixproof.train.evaluate.external.external_scoring import score_run
from mixproof.train.evaluate.external.question_sets import check_question_sets, find_question_sets
from mixproof.train.loop.run import train_run
from mixproof.train.outcome import RunOutcome, outcome_of
from mixproof.train.request import RunRequest

TOPICS = [str(text).split("\n\n", 1)[1] for _, text in sorted(pydoc_data.topics.topics.items())]
SPEC = """
schema: 1
name: outside
sources: {manual: {files: none.jsonl}}
tokenizer: {sentencepiece: tok.model}
mixtures: {all: {manual: 100%}}
train: {proxies: {nano: {tokens: 1M, global_batch_size: 4, lr: 0.003}}}
external: """
TASK = """
task: manual
dataset_path: json
dataset_kwargs: {data_files: {validation: questions.jsonl}}
validation_split: validation
output_type: multiple_choice
doc_to_text: "{{begin}}"
doc_to_choice: "{{ends}}"
doc_to_target: "{{right}}"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


def questions(number: int) -> list[dict[str, Any]]:
    """Beginnings of topics of Python's manual, each with four ends of which one is its own."""
    begins, ends = zip(*[(" ".join(text.split()[:8]), " ".join(text.split()[8:11])) for text in TOPICS], strict=True)
    return [
        {"begin": begins[n], "ends": [ends[(n + 7 * (k - n % 4)) % len(ends)] for k in range(4)], "right": n % 4}
        for n in range(number)
    ]


@pytest.fixture
def outcome(make_request: Callable[..., RunRequest]) -> RunOutcome:
    """A finished run of six steps at sequence length 32."""
    request = make_request(steps=6)
    train_run(request)
    return outcome_of(request)


@pytest.fixture
def scored(tmp_path: Path, outcome: RunOutcome) -> Callable[[str], ExternalScores]:
    """Score the run on what `external` says."""

    def score(external: str) -> ExternalScores:
        (tmp_path / "spec.yaml").write_text(SPEC + external)
        loaded = load_spec(tmp_path / "spec.yaml")
        wanted = find_external(loaded.spec, loaded.base)
        score_run(outcome.folder, wanted)
        [scores] = read_external([outcome], wanted, Store(Path(outcome.folder).parents[1]))
        return scores

    return score


def nats_of(outcome: RunOutcome, rows: list[tuple[list[int], int]]) -> list[float]:
    """-ln p of the last ids of each row, from the logits of the row alone."""
    with process_group("cpu") as ranks, torch.no_grad():
        model = load_model(open_finished_run(Path(outcome.folder)), ranks.device)
        found = []
        for ids, last in rows:
            inputs = torch.tensor([ids[:-1]])
            logits = model(inputs, torch.arange(len(ids) - 1)[None], None, runtime_gather_output=True)[0].double()
            chosen = torch.log_softmax(logits, 1).gather(1, torch.tensor(ids[1:])[:, None])[-last:]
            found.append(-float(chosen.sum()))
    return found


def tokenizer_of(outcome: RunOutcome) -> Any:  # noqa: ANN401  sentencepiece has no types
    run = open_finished_run(Path(outcome.folder))
    return load_processor(str(run.store.path(run.manifest().tokenizer.path)))


def test_bits_per_byte_of_a_set_are_those_of_the_definition(
    scored: Callable[[str], ExternalScores], outcome: RunOutcome, tmp_path: Path
) -> None:
    texts = ["The statement raises an exception.", "naïve", TOPICS[0][:200]]
    lines = [json.dumps({"body": text}) for text in texts]
    (tmp_path / "set.jsonl").write_text("\n\n".join(lines) + "\n")
    scores = scored("{sets: {docs: set.jsonl}, text: body}").sets["docs"]
    processor, rows = tokenizer_of(outcome), []
    eod = processor.eos_id()
    for text in texts:
        ids = [eod, *processor.encode(text), eod]
        rows += [(ids[i : i + 33], len(ids[i : i + 33]) - 1) for i in range(0, len(ids) - 1, 32)]
    size = sum(len(text.encode()) for text in texts)
    assert len(rows) > 3  # the long text has more than one window
    assert scores["bits_per_byte"] == pytest.approx(sum(nats_of(outcome, rows)) / math.log(2) / size, rel=1e-6)
    assert scores["documents"] == 3 and scores["bytes"] == size
    [path] = (Path(outcome.folder) / "external").glob("*.parquet")
    losses = pq.read_table(path).to_pylist()
    assert [row["record"] for row in losses] == [0, 2, 4]
    assert sum(row["nll_nats"] for row in losses) == pytest.approx(scores["loss"] * scores["tokens"])


def test_a_result_that_was_changed_is_an_error_that_names_it(
    scored: Callable[[str], ExternalScores], outcome: RunOutcome, tmp_path: Path
) -> None:
    (tmp_path / "set.jsonl").write_text('{"text": "one text"}\n')
    scored("{sets: {docs: set.jsonl}}")
    [path] = (Path(outcome.folder) / "external").glob("*.json")
    assert audit_run(Path(outcome.folder)).ok
    path.write_bytes(path.read_bytes().replace(b'"documents":1', b'"documents":2'))
    loaded = load_spec(tmp_path / "spec.yaml")
    with pytest.raises(DamagedFileError, match=f"{path.name}: whole file: its own checksum"):
        read_external([outcome], find_external(loaded.spec, loaded.base), Store(Path(outcome.folder).parents[1]))
    assert [failure.file for failure in audit_run(Path(outcome.folder)).failures] == [str(path)]


def test_two_sets_of_one_content_are_both_shown(scored: Callable[[str], ExternalScores], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text('{"text": "the same text"}\n')
    sets = scored("{sets: {one: one.jsonl, two: two.jsonl}}").sets
    assert list(sets) == ["one", "two"]
    assert sets["one"] == sets["two"] and sets["one"]["documents"] == 1


def test_a_set_that_changed_after_it_was_hashed_is_not_scored_under_its_old_hash(
    outcome: RunOutcome, tmp_path: Path
) -> None:
    (tmp_path / "set.jsonl").write_text('{"text": "one text"}\n')
    (tmp_path / "spec.yaml").write_text(SPEC + "{sets: {docs: set.jsonl}}")
    loaded = load_spec(tmp_path / "spec.yaml")
    benchmarks = find_external(loaded.spec, loaded.base)
    (tmp_path / "set.jsonl").write_text('{"text": "two text"}\n')
    with pytest.raises(RequestError, match="set.jsonl: its content is not the one that was identified"):
        score_run(outcome.folder, benchmarks)
    assert not (Path(outcome.folder) / "external").exists()


def test_a_set_is_read_whole_or_not_at_all(scored: Callable[[str], ExternalScores], tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").write_text('{"text": "whole"}\n{"title": "no text"}\n')
    with pytest.raises(RequestError, match=r"set docs: .*set.jsonl, record 1: missing_text in field 'text'"):
        scored("{sets: {docs: set.jsonl}}")
    with pytest.raises(RequestError, match=r"spec.yaml:8: external.sets.docs: no files match 'other.jsonl'"):
        scored("{sets: {docs: other.jsonl}}")


def test_a_task_is_scored_by_its_right_answers(
    scored: Callable[[str], ExternalScores], outcome: RunOutcome, tmp_path: Path
) -> None:
    asked = questions(12)
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "manual.yaml").write_text(TASK)
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, asked)))
    scores = scored("{tasks: {folder: tasks, names: [manual]}}").tasks["manual"]
    processor, rows = tokenizer_of(outcome), []
    for question in asked:
        before = len(processor.encode(question["begin"]))
        for end in question["ends"]:
            ids = processor.encode(f"{question['begin']} {end}")
            rows.append(([processor.eos_id(), *ids][-33:], len(ids) - before))
    nats = torch.tensor(nats_of(outcome, rows)).view(12, 4)
    right = torch.tensor([question["right"] for question in asked])
    size = sum(len(f" {question['ends'][question['right']]}".encode()) for question in asked)
    bits = float(nats.gather(1, right[:, None]).sum()) / math.log(2) / size
    assert scores["bits_per_byte"] == pytest.approx(bits, rel=1e-5)
    assert scores["acc"] == pytest.approx(float((nats.argmin(1) == right).double().mean()))
    sizes = torch.tensor([[len(f" {end}".encode()) for end in question["ends"]] for question in asked])
    assert scores["accuracy"] == pytest.approx(float(((nats / sizes).argmin(1) == right).double().mean()))
    shares = torch.softmax(-nats.double(), 1).gather(1, right[:, None])
    assert scores["soft_accuracy"] == pytest.approx(float(shares.mean()), rel=1e-5)
    assert scores["questions"] == 12
    assert not list(folder.glob("*cache*"))


def test_own_questions_are_scored_as_a_task_with_the_same_questions_is(
    scored: Callable[[str], ExternalScores], outcome: RunOutcome, tmp_path: Path
) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "manual.yaml").write_text(TASK)
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, questions(6))))
    own = [{"question": one["begin"], "choices": one["ends"], "answer": one["right"]} for one in questions(6)]
    own[1]["answer"] = own[1]["choices"][own[1]["answer"]]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, own)))
    short = [{"question": one["question"], "answer": questions(6)[n]["ends"][n % 4]} for n, one in enumerate(own)]
    (tmp_path / "short.jsonl").write_text("\n".join(map(json.dumps, short)))
    external = "{tasks: {folder: tasks, names: [manual]}, questions: {own: own.jsonl, short: short.jsonl}}"
    tasks = scored(external).tasks
    same = ("bits_per_byte", "accuracy", "soft_accuracy", "questions")
    assert {key: tasks["own"][key] for key in same} == pytest.approx({key: tasks["manual"][key] for key in same})
    # without choices the accuracy is that of greedy decoding, and the bits are the same
    assert tasks["short"]["bits_per_byte"] == pytest.approx(tasks["own"]["bits_per_byte"])
    assert tasks["short"]["soft_accuracy"] < tasks["own"]["soft_accuracy"]
    stored = [pq.read_table(path).to_pylist() for path in (Path(outcome.folder) / "external").glob("*.parquet")]
    assert sorted(len(rows) for rows in stored) == [6, 6, 6]
    assert audit_run(Path(outcome.folder)).ok


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"question": "Q", "choices": ["a", "b"], "answer": 2}, "'answer' is 2; it must be an index from 0 to 1"),
        ({"question": "Q", "choices": ["a", "a"], "answer": "a"}, "'answer' is 'a'; it must be an index"),
        ({"question": "Q", "choices": ["a"], "answer": 0}, "'choices' must be a list of at least two texts"),
        ({"question": "Q", "answer": 3}, "'answer' must be a text if there are no 'choices'"),
        ({"text": "Q"}, "record 0: missing_text in field 'question'"),
    ],
)
def test_a_question_that_cannot_be_scored_is_refused_before_any_work(
    record: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "own.jsonl").write_text(json.dumps(record))
    (tmp_path / "spec.yaml").write_text(SPEC + "{questions: {own: own.jsonl}}")
    loaded = load_spec(tmp_path / "spec.yaml")
    with pytest.raises(RequestError, match=message):
        check_question_sets(find_question_sets(loaded.spec, loaded.base))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("task: manual", "task: other"), "no task manual; tasks defined there: other"),
        (("questions.jsonl", "../questions.jsonl"), r"data_files \.\./questions.jsonl is outside the task folder"),
        (
            ("multiple_choice", "generate_until"),
            "output_type generate_until is not supported; use one",
        ),
        (("questions.jsonl", "none.jsonl"), "tasks manual: FileNotFoundError"),
    ],
)
def test_a_task_that_cannot_be_scored_is_refused(
    change: tuple[str, str], message: str, scored: Callable[[str], ExternalScores], tmp_path: Path
) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "manual.yaml").write_text(TASK.replace(*change))
    for place in (folder, tmp_path):
        (place / "questions.jsonl").write_text("\n".join(map(json.dumps, questions(2))))
    with pytest.raises(RequestError, match=message):
        scored("{tasks: {folder: tasks, names: [manual]}}")
