"""Folders of every kind looked at: which files become sources, with which fields and sizes, and why others do not."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from mixproof.cli.survey import listing
from mixproof.cli.survey.fields import find_fields
from mixproof.cli.survey.listing import ListedFile, Skipped, list_folder, stem_of
from mixproof.cli.survey.proposal import propose
from mixproof.cli.survey.sample import sample_file
from mixproof.cli.survey.sources import FoundSource, find_sources
from mixproof.cli.survey.spec_text import spec_text
from mixproof.ledger.errors import RequestError
from mixproof.mixtures.load import load_spec

TEXT = "What a proxy says of a mixture holds for the text that it was shown. " * 40


def rows(number: int, field: str = "text", **more: object) -> list[dict[str, object]]:
    return [{"id": f"d{row}", field: f"{row} {TEXT}", **more} for row in range(number)]


def write_jsonl(path: Path, records: list[dict[str, object]]) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    packed = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}.get(path.suffix, bytes)
    path.write_bytes(packed(data))
    return data


def survey(folder: Path, text: str | None = None) -> tuple[dict[str, FoundSource], dict[str, str]]:
    found, skipped = find_sources(list_folder(folder), text)
    return {source.name: source for source in found}, {one.what: one.reason for one in skipped}


def test_every_folder_and_format_is_a_source_whose_pattern_has_its_files_alone(tmp_path: Path) -> None:
    for shard in range(3):
        write_jsonl(tmp_path / "web" / "en" / f"web-{shard}.jsonl.zst", rows(30))
    write_jsonl(tmp_path / "web" / "old.jsonl.gz", rows(30))
    (tmp_path / "books").mkdir()
    pq.write_table(pa.Table.from_pylist(rows(40, "content")), tmp_path / "books" / "0.parquet")
    for number in range(25):
        (tmp_path / "code").mkdir(exist_ok=True)
        (tmp_path / "code" / f"{number}.py").write_text(TEXT)
    found, skipped = survey(tmp_path)
    assert {name: source.patterns for name, source in found.items()} == {
        "books": ("books/0.parquet",),
        "code": ("code/**/*.py",),
        "web": ("web/**/*.jsonl.gz", "web/**/*.jsonl.zst"),
    }
    assert [found[name].fields.text for name in ("books", "code", "web")] == ["content", "text", "text"]
    assert [found[name].declared for name in ("books", "code", "web")] == [False, True, False]
    assert [found[name].documents for name in ("books", "code")] == [40, 25]
    assert skipped == {}


def test_sizes_are_those_of_the_files_where_the_sample_is_all_of_them(tmp_path: Path) -> None:
    records = rows(50)
    for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl.zst"):
        write_jsonl(tmp_path / name, records)
    size = sum(len(str(record["text"]).encode()) for record in records)
    found, _ = survey(tmp_path)
    assert {(source.documents, source.text_bytes) for source in found.values()} == {(50, size)}


@pytest.mark.parametrize("name", ["large.jsonl", "large.jsonl.gz", "large.jsonl.zst", "large.parquet"])
def test_sizes_of_a_file_that_is_read_in_part_are_near_the_truth(tmp_path: Path, name: str) -> None:
    words, draw = TEXT.split(), random.Random(name)  # noqa: S311
    records: list[dict[str, object]] = [
        {"text": " ".join(f"{draw.choice(words)}{draw.randrange(100)}" for _ in range(300))} for _ in range(5000)
    ]
    size = sum(len(str(record["text"])) for record in records)
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(records), tmp_path / name, row_group_size=500)
    else:
        write_jsonl(tmp_path / name, records)
    (source,) = survey(tmp_path)[0].values()
    assert source.documents == pytest.approx(5000, rel=0.1)
    assert source.text_bytes == pytest.approx(size, rel=0.1)


def test_files_directly_in_the_folder_are_grouped_by_what_their_names_begin_with(tmp_path: Path) -> None:
    for name in ("web-00000-of-00002", "web-00001-of-00002", "wiki_0", "wiki_1", "webster"):
        write_jsonl(tmp_path / f"{name}.jsonl", rows(25))
    found, _ = survey(tmp_path)
    assert {name: source.patterns for name, source in found.items()} == {
        "web": ("web-00000-of-00002.jsonl", "web-00001-of-00002.jsonl"),  # `web*` would take webster as well
        "webster": ("webster.jsonl",),
        "wiki": ("wiki*.jsonl",),
    }
    assert stem_of(ListedFile("a/part-0001.parquet", 1)) == ""
    assert stem_of(ListedFile("c4-train.00012-of-01024.json.gz", 1)) == "c4-train"


def test_files_of_one_folder_whose_fields_differ_become_sources_of_their_own(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "mixed" / "a.jsonl", rows(25, "text"))
    write_jsonl(tmp_path / "mixed" / "b.jsonl", rows(25, "content"))
    write_jsonl(tmp_path / "mixed" / "chat.jsonl", [{"id": 1, "messages": [{"role": "user", "content": TEXT}]}] * 30)
    found, skipped = survey(tmp_path)
    assert sorted((source.patterns, source.fields.text) for source in found.values()) == [
        (("mixed/a.jsonl",), "text"),
        (("mixed/b.jsonl",), "content"),
    ]
    assert (
        "no field holds text (fields: id, messages); its messages are not conversations" in skipped["mixed/chat.jsonl"]
    )


def test_what_cannot_be_a_source_is_named_with_the_reason(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "small" / "a.jsonl", rows(5))
    (tmp_path / "settings.json").write_text(json.dumps({"a": 1}, indent=2))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "tokens.bin").write_bytes(b"12")
    (tmp_path / "broken.jsonl.gz").write_bytes(gzip.compress(json.dumps({"text": TEXT}).encode())[:40])
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "empty.jsonl").write_bytes(b"")
    found, skipped = survey(tmp_path)
    assert found == {}
    assert "5 documents: too few" in skipped["small/a.jsonl"]
    assert skipped["settings.json"] == "not JSON lines: one JSON object a line"
    assert skipped["picture.png"] == ".png: not a format of text that is read"
    assert "megatron: PREFIX" in skipped["tokens.bin"]
    assert skipped["broken.jsonl.gz"].startswith("cannot be read: ")
    assert skipped["broken.parquet"].startswith("cannot be read: ")
    assert skipped["empty.jsonl"] == "empty"


def test_a_field_that_is_asked_for_must_hold_text(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", rows(30, summary=TEXT))
    assert survey(tmp_path, "summary")[0]["a"].fields.text == "summary"
    found, skipped = survey(tmp_path, "body")
    assert found == {} and skipped["a.jsonl"] == "no field 'body' with text in it (fields: id, text, summary)"


def test_fields_are_found_by_name_then_by_length() -> None:
    long, short = TEXT, "short"
    fields = find_fields([{"title": short, "prose": long, "url": f"u{row}"} for row in range(5)])
    assert fields is not None and (fields.text, fields.id) == ("prose", "url")
    fields = find_fields([{"content": short, "prose": long, "meta": {"id": row}} for row in range(5)])
    assert fields is not None
    assert (fields.text, fields.id, fields.other_texts) == ("content", "meta.id", ("prose",))
    same_id = find_fields([{"text": long, "id": "same"} for _ in range(5)])
    assert same_id is not None and same_id.id is None
    assert find_fields([{"title": short}, {"title": short}]) is None


def test_hidden_files_stores_and_loops_are_passed_over(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", rows(30))
    write_jsonl(tmp_path / ".hidden" / "b.jsonl", rows(30))
    (tmp_path / ".mixproof").mkdir()
    (tmp_path / "store" / "builds" / "by-spec").mkdir(parents=True)
    write_jsonl(tmp_path / "store" / "c.jsonl", rows(30))
    (tmp_path / "loop").symlink_to(tmp_path)
    assert set(survey(tmp_path)[0]) == {"a"}


def test_a_folder_that_is_empty_missing_or_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RequestError, match="holds no files"):
        list_folder(tmp_path)
    (tmp_path / "corpus").mkdir()
    with pytest.raises(RequestError, match="there is no such folder; did you mean 'corpus'"):
        list_folder(tmp_path / "corpsu")
    monkeypatch.setattr(listing, "MOST_FILES", 2)
    for name in "abc":
        (tmp_path / name).write_text("")
    with pytest.raises(RequestError, match="more than 2 files; give init one of its folders"):
        list_folder(tmp_path)


def test_a_single_file_is_a_folder_of_one(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "only.jsonl", rows(30))
    write_jsonl(tmp_path / "other.jsonl", rows(30))
    found = list_folder(tmp_path / "only.jsonl")
    assert found.root == tmp_path and [file.name for group in found.groups for file in group.files] == ["only.jsonl"]


def test_an_arrow_stream_and_an_arrow_file_are_sampled(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(rows(30))
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    with pa.ipc.new_stream(tmp_path / "b.arrow", table.schema) as writer:
        writer.write_table(table)
    for name in ("a.arrow", "b.arrow"):
        sample = sample_file(tmp_path / name, "arrow")
        assert len(sample.records) == 30 and sample.share == pytest.approx(1, abs=0.1)


def test_files_beyond_those_that_are_looked_at_one_by_one_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mixproof.cli.survey.sources.MOST_MIXED", 14)
    for number in range(20):
        write_jsonl(tmp_path / "a" / f"{number:02}.jsonl", rows(5, "text" if number % 2 else "content"))
    _, skipped = find_sources(list_folder(tmp_path))
    assert (
        Skipped("a/14.jsonl", 6, "not looked at: files of this folder differ, and the first 14 were taken") in skipped
    )


def test_conversations_pairs_and_ratings_are_recognized_by_their_records(tmp_path: Path) -> None:
    ask, tell = {"role": "user", "content": TEXT}, {"role": "assistant", "content": TEXT}
    forms: dict[str, dict[str, object]] = {
        "chat": {"messages": [ask, tell]},
        "preferences": {"prompt": TEXT, "chosen": TEXT, "rejected": "No."},
        "ratings": {"prompt": TEXT, "response": TEXT, "attributes": {"right": 1}},
    }
    for name, record in forms.items():
        write_jsonl(tmp_path / name / "all.jsonl", [{"id": f"{name}{row}", **record} for row in range(300)])
    found, skipped = find_sources(list_folder(tmp_path))
    assert not skipped
    assert [(source.name, source.fields.kind) for source in found] == [(name, name) for name in forms]
    assert [source.documents for source in found] == [300] * 3
    chat, pairs, ratings = found
    assert chat.text_bytes == pytest.approx(300 * (2 * len(TEXT.encode()) + 2), rel=0.01)
    for sources, stage, trained in (
        ([chat], "sft", ["chat"]),
        ([chat, pairs], "sft", ["chat"]),
        ([ratings], "reward", ["ratings"]),
        ([pairs, ratings], "pretrain", ["preferences", "ratings"]),
    ):
        proposal = propose(sources)
        assert (proposal.stage, proposal.trained) == (stage, trained)
        text = spec_text(proposal, "first", tmp_path, tmp_path, None, "s.json")
        (tmp_path / "spec.yaml").write_text(text)
        spec = load_spec(tmp_path / "spec.yaml").spec
        assert {source.kind for source in spec.sources.values()} == {source.fields.kind for source in sources}
        assert spec.train.stage == stage
