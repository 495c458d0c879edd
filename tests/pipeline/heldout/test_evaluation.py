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
from mixproof.mixtures.spec import Decontaminate, Spec
from mixproof.pipeline.heldout.evaluation import (
    EvaluationFile,
    find_evaluation_files,
    read_evaluation_texts,
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

    def find(files: dict[str, bytes], *patterns: str) -> tuple[EvaluationFile, ...]:
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        spec = make_spec({"a": ["a.jsonl"]}).model_copy(update={"decontaminate": Decontaminate(against=patterns)})
        return find_evaluation_files(spec, tmp_path)

    return find


Find = Callable[..., tuple[EvaluationFile, ...]]


def texts_of(file: EvaluationFile, ngram: int = 4) -> list[tuple[int, str, str]]:
    return [(item.record, item.field, item.text) for item in read_evaluation_texts(file.file, ngram)]


@pytest.mark.parametrize("name", ["e.jsonl", "e.jsonl.gz", "e.jsonl.zst"])
def test_texts_and_questions_always_count_answers_where_they_are_long(find: Find, name: str) -> None:
    data = jsonl(RECORDS)
    pack = {"gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress}.get(name.split(".")[-1], bytes)
    (file,) = find({name: pack(data)}, "e.*")
    assert texts_of(file) == EXPECTED


def test_parquet_columns_are_read_alike(find: Find, tmp_path: Path) -> None:
    table = pa.table({"question": ["Who wrote it?", None], "choices": [["she did not do it", "he"], []], "n": [1, 2]})
    pq.write_table(table, tmp_path / "e.parquet")
    (file,) = find({}, "e.parquet")
    assert texts_of(file) == [(0, "question", "Who wrote it?"), (0, "choices", "she did not do it")]
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
        (b'{"prompt": "x", "id": 1}', r"line 2, has no text in any of text, question, .*; it has id, prompt"),
        (b'{"text": "x"', "line 2, is not JSON"),
        (b'["text"]', "line 2, is list, not an object"),
        (b"{}", "line 2, has no text .*; it has no fields"),
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
        (b'[{"text": "x"}, "y"]', r"decontaminate\.against: .*e\.json, item 2, is str, not an object"),
        (b'[{"text": "x"}', "begins as a JSON list and is none"),
        (b'[{"prompt": "x"}]', "line 1, has no text in any of"),
    ],
)
def test_a_json_list_that_cannot_be_protected_is_an_error_with_its_place(find: Find, data: bytes, problem: str) -> None:
    (file,) = find({"e.json": data}, "e.json")
    with pytest.raises(RequestError, match=problem):
        texts_of(file)


def test_a_parquet_file_without_a_known_column_is_an_error(find: Find, tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["x"]}), tmp_path / "e.parquet")
    (file,) = find({}, "e.parquet")
    with pytest.raises(RequestError, match="none of the columns text, question, answer, choices; it has prompt"):
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
