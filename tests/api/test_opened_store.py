"""A store from Python, held against the files of the small experiment and numbers counted here."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mixproof
from conftest import Experiment, raw_texts
from mixproof.api.rows import Rows


@pytest.fixture(scope="module")
def store(experiment: Experiment) -> mixproof.OpenedStore:
    return mixproof.open(experiment.store)


def test_a_store_lists_its_builds_with_their_totals(experiment: Experiment, store: mixproof.OpenedStore) -> None:
    (build,) = store.builds
    assert build.build == experiment.result["build"]["build"]
    assert build.sources == ("code", "guide", "manual", "notes")
    assert {"documents": build.documents, "tokens": build.tokens, "bytes": build.bytes} == experiment.result["build"][
        "totals"
    ]
    assert build.ended is not None and build.ended.tzinfo is not None
    assert store.builds.to_arrow().num_rows == 1


def test_the_account_of_every_source_adds_up_to_its_records_and_bytes(
    experiment: Experiment, store: mixproof.OpenedStore
) -> None:
    manifest = store.manifest(store.builds[0])
    documents, text_bytes = Counter[str](), Counter[str]()
    for row in store.account(store.builds[0]):
        documents[row.source] += row.documents
        text_bytes[row.source] += row.bytes
    assert documents == {name: source.ledger[0].documents_in for name, source in manifest.sources.items()}
    assert text_bytes == {name: source.ledger[0].bytes_in for name, source in manifest.sources.items()}
    blank = [row for row in store.account(store.builds[0]) if row.reason == "blank_line"]
    assert [(row.source, row.stage, row.documents, row.bytes) for row in blank] == [("guide", "read", 1, 0)]


@pytest.mark.parametrize("source", ["code", "guide", "manual", "notes"])
def test_documents_have_the_texts_of_the_files(
    experiment: Experiment, store: mixproof.OpenedStore, source: str
) -> None:
    originals = raw_texts(experiment.spec.parent / "corpus", source)
    build = store.builds[0].build
    for split in ("train", "heldout"):
        documents = store.documents(build, source, split)
        found = list(documents)
        assert len(documents) == len(found) > 0
        assert all(document.is_original and document.text in originals for document in found)
        assert len({document.id for document in found}) == len(found)
    first = store.documents(build, source).head(2)
    assert first.to_arrow().column_names[:2] == ["id", "text"] and len(first) == 2


def test_ids_of_documents_are_those_of_their_records(experiment: Experiment, store: mixproof.OpenedStore) -> None:
    lines = (experiment.spec.parent / "corpus" / "guide.jsonl").read_bytes().splitlines()
    for document in store.documents(store.builds[0], "guide"):
        record = json.loads(lines[document.record])
        assert (document.id, document.text, document.file) == (record["id"], record["text"], "guide.jsonl")


def test_a_source_or_split_that_a_build_has_not_is_named(store: mixproof.OpenedStore) -> None:
    with pytest.raises(mixproof.MixproofError, match="source 'books': the build has code, guide, manual, notes"):
        store.documents(store.builds[0], "books")
    with pytest.raises(mixproof.MixproofError, match="split 'test': give 'train' or 'heldout'"):
        store.documents(store.builds[0], "guide", "test")  # type: ignore[arg-type]


def test_the_table_of_runs_is_runs_parquet(experiment: Experiment, store: mixproof.OpenedStore) -> None:
    assert [(run.mixture, run.seed) for run in store.runs] == [
        ("mostly_code", 1),
        ("mostly_code", 2),
        ("prose", 1),
        ("prose", 2),
    ]
    written = pq.read_table(experiment.store / "runs.parquet").sort_by(
        [("mixture", "ascending"), ("seed", "ascending")]
    )
    assert store.runs.to_arrow().equals(written)


def test_losses_are_a_row_a_step_with_the_loss_of_every_source(
    experiment: Experiment, store: mixproof.OpenedStore
) -> None:
    run = store.runs[0]
    lines = (experiment.store / "train" / run.key / "metrics.jsonl").read_text().splitlines()
    table = store.losses(run).to_arrow()
    assert table["loss"].to_pylist() == [json.loads(line)["loss"] for line in lines]
    assert table["samples"].to_pylist() == [8 * step for step in range(1, 11)]
    assert table["loss/code"].to_pylist() == [json.loads(line)["loss_of"].get("code") for line in lines]
    assert table["targets/code"].null_count == sum("code" not in json.loads(line)["targets_of"] for line in lines)
    assert store.losses(run.key[:12])[9].loss == json.loads(lines[9])["loss"]


def test_compare_says_what_the_command_says(experiment: Experiment, store: mixproof.OpenedStore) -> None:
    compared = store.compare(experiment.spec)
    assert compared.verdict == experiment.result["compare"]["verdict"] and compared.comparable
    (group,) = experiment.result["compare"]["groups"]
    assert [row.mixture for row in compared.ranking] == group["ranking"]["nano"]
    assert [row.rank for row in compared.ranking] == [1, 2]
    assert compared.ranking[0].objective < compared.ranking[1].objective
    assert compared.ranking.to_arrow().num_rows == 2


def test_a_key_is_found_by_its_first_digits_and_refused_where_there_is_none(store: mixproof.OpenedStore) -> None:
    key = store.builds[0].build
    assert store.manifest(key[:8]).build == key
    with pytest.raises(
        mixproof.MixproofError, match="0123456789: .* has no build with this key; `.builds` lists what it has"
    ):
        store.manifest("0123456789")
    with pytest.raises(mixproof.MixproofError, match="at least 4 digits"):
        store.manifest(key[:3])


def test_several_keys_with_the_same_first_digits_are_named(tmp_path: Path) -> None:
    for last in "01":
        (tmp_path / "builds" / ("abcd" + "0" * 59 + last)).mkdir(parents=True)
    with pytest.raises(
        mixproof.MixproofError, match=r"abcd: several keys in .*: build abcd0{8}, build abcd0{8}; give more digits"
    ):
        mixproof.open(tmp_path).manifest("abcd")


def test_a_run_whose_record_cannot_be_read_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "train" / ("abcd" + "0" * 60)
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    logging.getLogger("mixproof").propagate = True
    assert len(mixproof.open(tmp_path).runs) == 0
    assert str(folder) in caplog.text and "left out" in caplog.text


def test_a_store_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(mixproof.MixproofError, match="there is no such store"):
        mixproof.open(tmp_path / "nothing")


def test_rows_are_a_sequence_and_a_table_of_pandas_and_polars() -> None:
    rows = Rows([3, 1, 2], pa.schema([("number", pa.int64())]), lambda number: {"number": number})
    assert (len(rows), list(rows), rows[1], list(rows[1:])) == (3, [3, 1, 2], 1, [1, 2])
    assert repr(rows) == "<3 rows of number>"
    assert rows[:2].to_arrow().to_pydict() == {"number": [3, 1]}
    assert rows.to_pandas()["number"].tolist() == [3, 1, 2]
    if importlib.util.find_spec("polars"):
        assert rows.to_polars()["number"].to_list() == [3, 1, 2]
    else:
        with pytest.raises(ImportError, match="polars"):
            rows.to_polars()
