"""`inspect --decontamination`: what a build dropped, by file and question, side by side in 80 columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Finished
from in_process import InProcess
from mixproof.cli.commands.build import frequent_line, run_build
from mixproof.cli.commands.inspect import inspect_decontamination
from mixproof.cli.decontamination_report import dropped_by_reason, read_report, report_json
from mixproof.cli.request import open_request

Mixproof = Callable[..., Finished]
QUESTION = (
    "Anna picks seven apples before lunch and gives three of them to her brother; how many apples does she have left?"
)
FOOTER = "All rights reserved by the publisher of this site and its many partners."
SPEC = """\
schema: 1
name: leaks
sources: {web: {files: web.jsonl}}
heldout: {create: {tokens: 1, min_documents: 1}}
decontaminate: {against: quiz.jsonl, ngram: 5, ignore_frequent: 5}
tokenizer: {train: {vocab_size: 320, bytes: 1MB}}
mixtures: {whole: {web: 100%}}
train: {sequence_length: 16, proxies: {nano: {tokens: 512, global_batch_size: 4, lr: 1e-3}}}
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished build of twelve pages, two of which repeat a question."""
    folder = tmp_path_factory.mktemp("leaks")
    words = [" ".join(f"w{page}x{number}" for number in range(30)) for page in range(12)]
    pages = [f"Page {number} is about {row}. {FOOTER}" for number, row in enumerate(words)]
    leaks = [QUESTION.replace("seven", "eight"), QUESTION]
    pages += [f"Homework help, part 2. {leaks[0]} Answer: five.", f"A forum says: {leaks[1]}"]
    rows = [{"id": f"page-{number}", "text": text} for number, text in enumerate(pages)]
    (folder / "web.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    quiz = [{"question": QUESTION}, {"question": f"What does this say? {FOOTER}"}]
    (folder / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in quiz))
    (folder / "spec.yaml").write_text(SPEC)
    with InProcess() as own:
        result = run_build(open_request(folder / "spec.yaml", str(folder / "store")), own)
    assert result.frequent is not None
    assert result.frequent["ignored_ngrams"] == 9 and result.frequent["unprotected_texts"] == 0
    assert frequent_line(result.frequent).startswith("9 n-grams that occur in more than 5 training documents; 0 ")
    return folder / "spec.yaml"


def test_each_question_has_the_documents_that_were_dropped_for_it(spec: Path) -> None:
    files, frequent = read_report(open_request(spec, str(spec.parent / "store")))
    dropped = dropped_by_reason(open_request(spec, str(spec.parent / "store")).manifest())
    value = json.loads(json.dumps(report_json(files, frequent, dropped)))
    assert value["ledger"] == {"evaluation_overlap": 2}
    quiz = next(each for each in value["files"] if each["file"] == "evaluation/quiz.jsonl")
    assert (quiz["texts"], quiz["texts_matched"], quiz["documents"]) == (2, 1, 2)
    (matched,) = quiz["matched"]
    assert (matched["record"], matched["field"], matched["text"]) == (0, "question", QUESTION)
    # 21 words have 17 n-grams; another third word breaks 3
    assert [(one["id"], one["shared_ngrams"], one["text_ngrams"]) for one in matched["documents"]] == [
        ("page-13", 17, 17),
        ("page-12", 14, 17),
    ]
    assert matched["documents"][0]["longest_run"] == QUESTION.rstrip("?")
    assert value["frequent_ngrams"]["ignore_frequent"] == 5


def test_texts_are_side_by_side_in_80_columns(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspect_decontamination(spec, str(spec.parent / "store"), 2, False)
    out = capsys.readouterr().out
    assert "evaluation/quiz.jsonl record 0, question" in out and "web web.jsonl record 13, and 1 other" in out
    assert (
        "17 shared n-grams, 100.00% of the text's and" in out and "dropped by the ledger: evaluation_overlap 2" in out
    )
    side = [line for line in out.splitlines() if "«Anna" in line]
    assert len(side) == 1 and side[0].count("«Anna") == 2 and "A forum says: " in side[0] and len(side[0]) <= 80


def test_frequent_ngrams_are_part_of_a_builds_identity_only_where_they_are_declared(spec: Path) -> None:
    stated = open_request(spec, str(spec.parent / "store")).manifest().spec["decontaminate"]
    assert stated["ignore_frequent"] == 5 and stated["ngram"] == 5
