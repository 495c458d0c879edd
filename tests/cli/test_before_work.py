"""What a spec needs is checked before any work: no Ray, nothing written, one sentence with the remedy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from conftest import SPEC, write_experiment
from mixproof.cli.before_work import open_for_work
from mixproof.cli.machine.extras import Extra, find_extras
from mixproof.cli.machine.needed_extras import check_extras, needed_extras
from mixproof.ledger.errors import DamagedFileError, MixproofError, RequestError
from mixproof.mixtures.load import load_spec
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.inputs.first_records import check_first_records

GUIDE = 'guide: {files: "corpus/guide.jsonl"}'
CHAT = """\
schema: 1
name: chat
sources: {chat: {files: chat.jsonl, format: chat}}
tokenizer: {train: {vocab_size: 300, bytes: 1MB}}
mixtures: {all: {chat: 100%}}
train: {proxies: {nano: {tokens: 1M, global_batch_size: 8, lr: 0.001}}}
"""
MISTAKES = {
    "a text field that no record has": (
        GUIDE,
        'guide: {files: "corpus/guide.jsonl", text: body}',
        r"small.yaml:6: sources.guide: .*guide.jsonl: its records have no field 'body'; .*text.* Set `text: text`",
    ),
    "an id that no record has": (
        GUIDE,
        'guide: {files: "corpus/guide.jsonl", id: meta.url}',
        r"sources.guide.id: none of the first records of its files has a field 'meta.url'",
    ),
    "a column to split by that no record has": (
        GUIDE,
        'guide: {files: "corpus/guide.jsonl", split_by: quality}',
        r"sources.guide.split_by: none of the first records",
    ),
    "a step's field that no record has": (
        GUIDE,
        'guide: {files: "corpus/guide.jsonl", steps: [{score: {field: edu, min: 1}}]}',
        r"sources.guide.steps\[0\].score.field: none of the first records .* has a field 'edu'",
    ),
    "a Parquet column that is not there": (
        'notes: {files: "corpus/notes.parquet"}',
        'notes: {files: "corpus/notes.parquet", text: body}',
        r"notes.parquet: there is no column 'body'",
    ),
    "an extractor for texts without HTML": (
        'notes: {files: "corpus/notes.parquet"}',
        'notes: {files: "corpus/notes.parquet", extractor: trafilatura}',
        r"sources.notes.extractor: the texts have no HTML to extract from: none of the first \d+ has a tag; remove",
    ),
    "more held-out documents than records": (
        "min_documents: 3",
        "min_documents: 100000",
        r"sources.code: its files hold [\d,]+ records, and its held-out set needs at least 100,000 documents",
    ),
    "more held-out tokens than the files hold": (
        "tokens: 4K",
        "tokens: 1B",
        r"sources.code: its files hold about [\d,]+ tokens at most, and heldout.create.tokens requests 1,000,000,000",
    ),
    "a vocabulary that the sample cannot give": (
        "vocab_size: 1200, bytes: 2MB",
        "vocab_size: 90000, bytes: 200KB",
        r"small.yaml:10: tokenizer.train: the sample cannot give 90000 pieces: .*<= \d+",
    ),
    "a vocabulary smaller than the alphabet": (
        "vocab_size: 1200",
        "vocab_size: 100",
        r"tokenizer.train: the sample cannot give 100 pieces: .*smaller than",
    ),
    "a piece that no trained tokenizer has": (
        "bytes: 2MB}}",
        'bytes: 2MB}, eod: "<|endoftext|>"}',
        r"tokenizer.eod: a tokenizer that is trained here has the control pieces <s> and </s>",
    ),
    "a token table that is not there": (
        'files: "corpus/guide.jsonl"',
        'files: "corpus/guide.jsonl", split_by: {clusters: {number: 2, embedding: nofolder}}',
        r"\.yaml:\d+: sources\.\w+\.split_by: .*nofolder.*: no such file",
    ),
    "held-out sets of a build that is not there": (
        "{create: {tokens: 4K, min_documents: 3}}",
        "{from: old/manifest.json}",
        r"\.yaml:\d+: heldout.from: there is no file .*old/manifest.json",
    ),
    "an evaluation file without texts": (
        "tokenizer:",
        "decontaminate: {against: corpus/other.jsonl}\ntokenizer:",
        r"decontaminate.against: .*other.jsonl, line 1, has no text to protect",
    ),
    "an external set without texts": (
        "tokenizer:",
        "external: {sets: {other: corpus/other.jsonl}}\ntokenizer:",
        r"external set other: .*other.jsonl, record 0: missing_text in field 'text'",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_before_any_work(mistake: str, tmp_path: Path) -> None:
    right, wrong, message = MISTAKES[mistake]
    assert right in SPEC
    spec = write_experiment(tmp_path, SPEC.replace(right, wrong))
    (tmp_path / "corpus/other.jsonl").write_text(json.dumps({"label": 1}) + "\n")
    with pytest.raises(RequestError, match=message):
        open_for_work(spec, str(tmp_path / "store"), "run")
    assert not (tmp_path / "store").exists()


def test_a_new_store_is_announced_and_one_beside_the_spec_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = write_experiment(tmp_path / "experiment")
    other = tmp_path / "elsewhere"
    other.mkdir()
    monkeypatch.chdir(other)
    open_for_work(spec, ".mixproof", "build")
    assert capfd.readouterr().err == f"new store {other / '.mixproof'}\n"
    beside = tmp_path / "experiment" / ".mixproof"
    beside.mkdir()
    open_for_work(spec, ".mixproof", "build")
    assert f"; there is one beside the spec: --store {beside}" in capfd.readouterr().err
    open_for_work(spec, str(beside), "build")
    open_for_work(spec, ".mixproof", "plan")
    assert capfd.readouterr().err == ""


def test_a_disk_that_cannot_hold_the_work_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write_experiment(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(RequestError, match=r"the disk has 1 MB free, and this needs about .* MB .*use another disk"):
        open_for_work(spec, str(tmp_path / "store"), "run")
    open_for_work(spec, str(tmp_path / "store"), "plan")


def test_a_spec_without_a_mistake_is_opened_for_every_kind_of_work(tmp_path: Path) -> None:
    spec = write_experiment(tmp_path)
    assert set(open_for_work(spec, str(tmp_path / "store"), "run").estimates) == {"code", "manual", "guide", "notes"}
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("content", "message", "error"),
    [
        (b'[{"text": "a"}]', "it is a JSON array; write one object on each line", RequestError),
        (b"plain prose\nand more\n", "it is not JSON lines; it starts with 'plain prose'", RequestError),
        (b'{"text": 1}\n{"text": 2}\n', "the field 'text' holds a number, not text", RequestError),
        (b'{"doc": {"text": "a"}}\n', r"they have doc \(an object\). `text` must name a field", RequestError),
        (b"\x1f\x8b\x08\0", "it is gzip, not JSON lines; rename it to end with .gz", DamagedFileError),
    ],
)
def test_files_in_another_form_are_named_with_what_they_are(
    content: bytes, message: str, error: type[MixproofError], tmp_path: Path
) -> None:
    spec = write_experiment(tmp_path)
    (tmp_path / "corpus/guide.jsonl").write_bytes(content)
    with pytest.raises(error, match=message):
        open_for_work(spec, str(tmp_path / "store"), "build")


def test_unusable_files_are_allowed_up_to_the_share_of_bad_records_that_the_spec_allows(tmp_path: Path) -> None:
    record = json.dumps({"text": "a text of some length", "id": "1"}) + "\n"
    spec = write_experiment(tmp_path, SPEC.replace("guide.jsonl", "guide*.jsonl"))
    (tmp_path / "corpus/guide.jsonl").write_text(200 * record)
    (tmp_path / "corpus/guide2.jsonl").write_text(json.dumps({"body": "a text"}) + "\n")  # below 1% of the bytes
    open_for_work(spec, str(tmp_path / "store"), "build")
    (tmp_path / "corpus/guide2.jsonl").write_text(3 * (json.dumps({"body": "a text of some length"}) + "\n"))
    with pytest.raises(RequestError, match=r"guide2.jsonl: its records .* in 1 of the 2 files looked at"):
        open_for_work(spec, str(tmp_path / "store"), "build")


def test_a_text_file_that_is_too_long_for_one_document_is_refused(tmp_path: Path) -> None:
    spec = write_experiment(tmp_path, SPEC.replace(GUIDE, 'guide: {files: "corpus/huge.txt"}'))
    with (tmp_path / "corpus" / "huge.txt").open("wb") as file:
        file.truncate(256_000_001)  # a hole, not data
    loaded = load_spec(spec)
    with pytest.raises(RequestError, match=r"sources\.guide: .*huge\.txt: text files are one document each, .* 256 MB"):
        check_first_records(loaded.as_written, find_files(loaded.as_written, tmp_path))


def test_missing_extras_are_named_with_what_needs_them_and_one_line_that_installs_them(tmp_path: Path) -> None:
    text = SPEC.replace("{length: {min_chars: 400}}", "gopher_quality").replace(
        "corpus/notes.parquet", "s3://b/n.parquet"
    )
    path = tmp_path / "s.yaml"
    path.write_text(text)
    spec = load_spec(path).spec
    assert [extra for extra, _ in needed_extras(spec, "store", "run")] == ["documents", "s3", "train"]
    assert [extra for extra, _ in needed_extras(spec, "store", "build")] == ["documents", "s3"]
    check_extras(spec, "store", "run", find_extras() | {"s3": Extra("s3", {"s3fs": "1"})})
    absent = {name: Extra(name, dict.fromkeys(extra.packages)) for name, extra in find_extras().items()}
    with pytest.raises(
        RequestError,
        match=r"s.yaml:4: sources.code.steps: the step gopher_quality needs datatrove, .*"
        r"sources.notes: s3://b/n.parquet needs s3fs; `mixproof run` needs megatron-core, .*"
        r"pip install .*\[documents,s3,train\]",
    ):
        check_extras(spec, "store", "run", absent)


def test_conversations_need_no_text_field(tmp_path: Path) -> None:
    record = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    (tmp_path / "chat.jsonl").write_text(json.dumps(record) + "\n")
    (tmp_path / "chat.yaml").write_text(CHAT)
    spec = load_spec(tmp_path / "chat.yaml").spec
    files = find_files(spec, tmp_path)
    assert check_first_records(spec, files) == []
    assert [file.bytes for file in files["chat"]] == [(tmp_path / "chat.jsonl").stat().st_size]


def test_reasoning_that_no_template_writes_is_named_before_any_work(tmp_path: Path) -> None:
    answer = {"role": "assistant", "content": "Hello", "reasoning_content": "A greeting.", "thinking": None}
    record = {"messages": [{"role": "user", "content": "Hi"}, answer]}
    (tmp_path / "chat.jsonl").write_text(json.dumps(record) + "\n")
    (tmp_path / "chat.yaml").write_text(CHAT)
    spec = load_spec(tmp_path / "chat.yaml").spec
    (warning,) = check_first_records(spec, find_files(spec, tmp_path))
    assert "sources.chat" in warning and "chat.jsonl: messages have reasoning_content, which is left out" in warning
