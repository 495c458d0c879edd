"""Evaluation files: which of their strings are protected, and what is wrong with those that cannot be used."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.mixtures.blocks.heldout import Decontaminate, EvaluationFiles
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.heldout.evaluation import (
    EvaluationFile,
    find_evaluation_files,
    read_evaluation_file,
)
from mixproof.pipeline.readers.unchanged import verified

MakeSpec = Callable[..., Spec]

RECORDS: list[dict[str, object]] = [
    {"text": "a passage"},
    {"question": "Who wrote it?", "answer": "he did", "choices": ["she did not do it", "he"]},
    {"question": "Which one?", "answer": 2, "choices": {"text": ["one two three four", "no"], "label": ["A", "B"]}},
]
EXPECTED = [
    (0, "text", "a passage"),
    (1, "question", "Who wrote it?"),
    (1, "choices", "she did not do it"),
    (2, "question", "Which one?"),
    (2, "choices", "one two three four"),
]


def jsonl(records: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


@pytest.fixture
def find(tmp_path: Path, make_spec: MakeSpec) -> Callable[..., tuple[EvaluationFile, ...]]:
    """Write files into the folder, then find them by patterns."""

    def find(
        files: dict[str, bytes], *patterns: str, fields: tuple[str, ...] | None = None, passages: bool = True
    ) -> tuple[EvaluationFile, ...]:
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        against = tuple(EvaluationFiles(files=(each,), fields=fields, passages=passages) for each in patterns)
        spec = make_spec({"a": ["a.jsonl"]}).model_copy(update={"decontaminate": Decontaminate(against=against)})
        return find_evaluation_files(spec, tmp_path)

    return find


Find = Callable[..., tuple[EvaluationFile, ...]]


def texts_of(file: EvaluationFile, ngram: int = 4) -> list[tuple[int, str, str]]:
    return [(item.record, item.field, item.text) for item in read_evaluation_file(file, ngram)[0]]


@pytest.mark.parametrize("name", ["e.jsonl", "e.jsonl.gz", "e.jsonl.zst"])
def test_texts_and_questions_always_count_answers_where_they_are_long(find: Find, name: str) -> None:
    data = jsonl(RECORDS)
    pack = {"gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress}.get(name.split(".")[-1], bytes)
    (file,) = find({name: pack(data)}, "e.*")
    assert texts_of(file) == EXPECTED


def test_parquet_columns_are_read_alike(find: Find, tmp_path: Path) -> None:
    table = pa.table({"question": ["Who wrote it?", "Why?"], "choices": [["she did not do it", "he"], []], "n": [1, 2]})
    pq.write_table(table, tmp_path / "e.parquet")
    (file,) = find({}, "e.parquet")
    expected = [(0, "question", "Who wrote it?"), (0, "choices", "she did not do it"), (1, "question", "Why?")]
    assert texts_of(file) == expected
    assert read_evaluation_file(file, 4)[1].plain() == {
        "file": "e.parquet",
        "records": 2,
        "texts": {"question": 2, "choices": 1},
        "not_read": ["n"],
    }
    assert file.sha256 == sha256_of_file(tmp_path / "e.parquet")


def test_blank_lines_count_as_places_and_nothing_else(find: Find) -> None:
    (file,) = find({"e.jsonl": b"\xef\xbb\xbf\n" + jsonl(RECORDS[:1])}, "*.jsonl")
    assert texts_of(file) == [(1, "text", "a passage")]


def test_a_file_matched_twice_is_read_once_and_files_are_sorted(find: Find) -> None:
    files = find({"b.jsonl": jsonl(RECORDS), "a.jsonl": jsonl(RECORDS)}, "b.jsonl", "*.jsonl")
    assert [each.file.name for each in files] == ["a.jsonl", "b.jsonl"]


def test_a_pattern_that_matches_nothing_is_an_error(find: Find) -> None:
    with pytest.raises(RequestError, match=r"decontaminate\.against: no files match 'evals/\*\.jsonl'"):
        find({}, "evals/*.jsonl")


def test_no_patterns_and_decontamination_turned_off_need_no_files(
    find: Find, make_spec: MakeSpec, tmp_path: Path
) -> None:
    assert find({}) == ()
    assert find_evaluation_files(make_spec({"a": ["a.jsonl"]}), tmp_path) == ()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            b'{"riddle": "x", "id": 1}',
            r"line 2, has no text to protect: .* or a passage; the fields are id, riddle;",
        ),
        (b'{"text": "x"', "line 2, is not valid JSON"),
        (b'["text"]', "line 2, is of type list, not an object"),
        (b"{}", "line 2, has no text to protect: .*; the fields are none; declare"),
    ],
)
def test_a_record_that_cannot_be_protected_is_an_error_with_its_line(find: Find, line: bytes, problem: str) -> None:
    (file,) = find({"e.jsonl": b'{"text": "x"}\n' + line + b"\n"}, "e.jsonl")
    with pytest.raises(RequestError, match=problem):
        texts_of(file)


@pytest.mark.parametrize("name", ["e.json", "e.jsonl.gz"])
def test_a_json_list_over_many_lines_has_an_item_a_record(find: Find, name: str) -> None:
    data = b"\xef\xbb\xbf \n" + json.dumps(RECORDS, indent=1).encode()
    (file,) = find({name: gzip.compress(data) if name.endswith("gz") else data}, "e.*")
    assert texts_of(file) == EXPECTED


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'[{"text": "x"}, "y"]', r"decontaminate\.against: .*e\.json, item 2, is of type str, not an object"),
        (b'[{"text": "x"}', "starts like a JSON list but is not valid"),
        (b'[{"riddle": "x"}]', "line 1, has no text to protect"),
    ],
)
def test_a_json_list_that_cannot_be_protected_is_an_error_with_its_place(find: Find, data: bytes, problem: str) -> None:
    (file,) = find({"e.json": data}, "e.json")
    with pytest.raises(RequestError, match=problem):
        texts_of(file)


def test_a_parquet_file_without_a_known_column_is_an_error(find: Find, tmp_path: Path) -> None:
    pq.write_table(pa.table({"riddle": ["x"]}), tmp_path / "e.parquet")
    (file,) = find({}, "e.parquet")
    with pytest.raises(RequestError, match="has no column with texts to protect: .*; the fields are riddle; declare"):
        texts_of(file)


def test_damaged_files_are_named(find: Find) -> None:
    packed = gzip.compress(jsonl(RECORDS))
    broken = find({"e.jsonl.gz": packed[:-9], "e.parquet": b"PAR1"}, "e.*")
    for file in broken:
        with pytest.raises(DamagedFileError, match=file.file.name):
            texts_of(file)


def test_a_file_that_changed_after_it_was_hashed_is_an_error(find: Find, tmp_path: Path) -> None:
    (file,) = find({"e.jsonl": jsonl(RECORDS)}, "e.jsonl")
    with verified(file.file.url, file.sha256):
        pass
    (tmp_path / "e.jsonl").write_bytes(jsonl(RECORDS[:1]))
    with (
        pytest.raises(RequestError, match="its content is not the one that was identified"),
        verified(file.file.url, file.sha256),
    ):
        pass


FORMS: list[tuple[str, dict[str, object], set[tuple[str, str]]]] = [
    ("MATH", {"problem": "What is 6 x 7?", "solution": "It is 6 times 7, so 42.", "answer": "42", "level": "5"},
     {("problem", "What is 6 x 7?"), ("solution", "It is 6 times 7, so 42.")}),
    ("AIME", {"ID": "2024-I-1", "Problem": "Find x.", "Answer": 73}, {("Problem", "Find x.")}),
    ("Winogrande", {"sentence": "A _ fell.", "option1": "cup", "option2": "jar", "answer": "1"},
     {("sentence", "A _ fell."), ("sentence", "A cup fell."), ("sentence", "A jar fell.")}),
    ("OpenBookQA", {"question_stem": "The sun is", "choices": {"text": ["a star that is hot", "cold"], "label": ["A"]}},
     {("question_stem", "The sun is"), ("choices", "a star that is hot")}),
    ("ARC", {"question": {"stem": "Why?", "choices": [{"text": "it is so very hot", "label": "A"}]}, "answerKey": "A"},
     {("stem", "Why?"), ("choices", "it is so very hot")}),
    ("text and label", {"query": "Why so?", "choices": [{"text": "it is so very hot", "label": "A"}]},
     {("query", "Why so?"), ("choices", "it is so very hot")}),
    ("SQuAD", {"title": "t", "context": "Ann lives here.", "question": "Who?", "answers": {"text": ["Ann"]}},
     {("question", "Who?"), ("context", "Ann lives here.")}),
    ("BoolQ", {"question": "is it", "passage": "It is.", "answer": True},
     {("question", "is it"), ("passage", "It is.")}),
    ("RACE", {"article": "A story.", "question": "Who?", "options": ["he who was not there", "b"], "answer": "A"},
     {("question", "Who?"), ("article", "A story."), ("options", "he who was not there")}),
    ("MBPP", {"task_id": 1, "text": "Add two.", "code": "def add(a, b): return a", "test_list": ["assert x"]},
     {("text", "Add two."), ("code", "def add(a, b): return a")}),
    ("HumanEval", {"prompt": "def f():", "canonical_solution": "  return 1", "test": "check", "entry_point": "f"},
     {("prompt", "def f():")}),
    ("GSM8K", {"question": "How many?", "answer": "There are two and two: 4"},
     {("question", "How many?"), ("answer", "There are two and two: 4")}),
    ("HellaSwag", {"ctx": "A man sits", "endings": ["and then he stands up", "no"], "label": "0"},
     {("ctx", "A man sits"), ("endings", "and then he stands up")}),
    ("MedQA", {"question": "Which?", "options": {"A": "the one that is left", "B": "none"}, "answer": "A"},
     {("question", "Which?"), ("options", "the one that is left")}),
]  # fmt: skip


@pytest.mark.parametrize(("record", "expected"), [form[1:] for form in FORMS], ids=[form[0] for form in FORMS])
def test_the_fields_of_known_benchmarks_are_protected(
    find: Find, record: dict[str, object], expected: set[tuple[str, str]]
) -> None:
    (file,) = find({"e.jsonl": jsonl([record])}, "e.jsonl")
    assert {(field, text) for _, field, text in texts_of(file)} == expected


def test_passages_can_be_left_out_and_the_summary_says_so(find: Find) -> None:
    record: dict[str, object] = {
        "title": "t",
        "context": "Ann lives here.",
        "question": "Who?",
        "answers": {"text": ["Ann"]},
    }
    (file,) = find({"e.jsonl": jsonl([record])}, "e.jsonl", passages=False)
    assert texts_of(file) == [(0, "question", "Who?")]
    assert read_evaluation_file(file, 4)[1].not_read == ["context", "title"]


def test_a_record_whose_question_is_null_is_an_error_even_with_an_answer(find: Find) -> None:
    (file,) = find({"e.jsonl": jsonl([{"question": None, "answer": "a long answer of many words"}])}, "e.jsonl")
    with pytest.raises(RequestError, match="line 1, has no text to protect.*the fields are answer, question"):
        texts_of(file)


def test_declared_fields_are_protected_whatever_their_names(find: Find, tmp_path: Path) -> None:
    record: dict[str, object] = {"riddle": {"de": "Wer?", "en": "Who?"}, "hint": "no"}
    (file,) = find({"e.jsonl": jsonl([record])}, "e.jsonl", fields=("riddle.en",))
    assert texts_of(file) == [(0, "riddle.en", "Who?")]
    assert read_evaluation_file(file, 4)[1].not_read == ["hint"]
    pq.write_table(pa.Table.from_pylist([record]), tmp_path / "e.parquet")
    (table,) = find({}, "e.parquet", fields=("riddle.en",))
    assert texts_of(table) == [(0, "riddle.en", "Who?")]


def test_a_declared_field_that_no_record_has_is_an_error(find: Find) -> None:
    (file,) = find({"e.jsonl": jsonl([{"riddle": "Who?"}])}, "e.jsonl", fields=("riddle", "hint"))
    with pytest.raises(RequestError, match=r"no text in the declared field hint: .*; the fields are riddle; correct"):
        texts_of(file)


def test_a_file_that_is_listed_with_two_sets_of_fields_is_an_error(make_spec: MakeSpec, tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_bytes(jsonl(RECORDS))
    against = (EvaluationFiles(files=("e.jsonl",)), EvaluationFiles(files=("*.jsonl",), fields=("text",)))
    spec = make_spec({"a": ["a.jsonl"]}).model_copy(update={"decontaminate": Decontaminate(against=against)})
    with pytest.raises(RequestError, match="listed twice with different fields"):
        find_evaluation_files(spec, tmp_path)
