"""A source split by a column: every record is in the account of every part, and a document in that of one."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from in_process import InProcess
from mixproof.ledger.account import Count
from mixproof.ledger.errors import BadRecordsError, RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.source import Source, Step
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read.documents import SourceDocuments, read_sources
from mixproof.pipeline.read.values import split_by_columns
from mixproof.pipeline.readers.value import value_of
from mixproof.pipeline.record import Raw, Reject

LINES = [
    b'{"text": "one of the good ones", "quality": "high"}',
    b'{"text": "one of the bad ones", "quality": "low"}',
    b"",
    b'{"text": "nobody has judged this one"}',
    b'{"text": "nor this one", "quality": null}',
    b'{"text": "judged by a list", "quality": ["high"]}',
    b'{"text": "", "quality": "high"}',
    b"{broken",
    b'{"text": "short", "quality": "low"}',
    b'{"text": "a number for a value", "quality": 3}',
    b'{"text": "another of the good ones", "quality": "high"}',
]
Read = Callable[..., dict[str, SourceDocuments]]


@pytest.fixture
def cluster() -> Cluster:
    """A cluster without Ray."""
    return InProcess()


@pytest.fixture
def read(tmp_path: Path, make_spec: Callable[..., Spec], cluster: Cluster) -> Read:
    """Read the files of a folder as one source, `web`, that is split by `quality`."""

    def run(pattern: str = "in/*", reject: str = "100%", shard_bytes: int = 10**8) -> dict[str, SourceDocuments]:
        steps = (Step(name="length", options={"min_chars": 10}),)
        source = Source(files=(pattern,), split_by="quality", steps=steps)
        spec = make_spec({"web": source}, reject=reject)
        store, found = Store(tmp_path / "store"), find_files(spec, tmp_path)
        parts, files = split_by_columns(spec, found, store, cluster, shard_bytes=shard_bytes)
        return read_sources(parts, files, store, cluster, shard_bytes=shard_bytes)

    (tmp_path / "in").mkdir()
    return run


def texts_of(source: SourceDocuments, folder: Path) -> list[tuple[int, str]]:
    """(record in the whole file, text) of every document."""
    found = []
    for shard in source.shards:
        for row in pq.read_table(folder / "store" / shard.folder / "documents.parquet").to_pylist():
            found.append((shard.first_record + row["record"], row["text"]))
    return found


@pytest.mark.parametrize("shard_bytes", [10**8, 60])
def test_each_part_accounts_for_every_record_and_holds_its_own_documents(
    read: Read, tmp_path: Path, shard_bytes: int
) -> None:
    (tmp_path / "in" / "a.jsonl").write_bytes(b"\n".join(LINES) + b"\n")
    parts = read(shard_bytes=shard_bytes)
    assert list(parts) == ["web/3", "web/high", "web/low"]
    assert texts_of(parts["web/high"], tmp_path) == [(0, "one of the good ones"), (10, "another of the good ones")]
    assert texts_of(parts["web/low"], tmp_path) == [(1, "one of the bad ones")]
    assert texts_of(parts["web/3"], tmp_path) == [(9, "a number for a value")]
    bad = {
        "blank_line": 1,
        "empty_text": 1,
        "invalid_json": 1,
        "missing_split_value": 2,
        "split_value_not_text": 1,
    }
    for name, elsewhere in (("web/3", 4), ("web/high", 3), ("web/low", 3)):
        row, steps = parts[name].ledger
        assert {reason: gone.documents for reason, gone in row.dropped.items()} == bad | {"of_another_part": elsewhere}
        assert row.documents_in == parts[name].inputs.records == len(LINES)
        assert steps.documents_in == row.documents_out == len(LINES) - 6 - elsewhere
    assert parts["web/low"].ledger[1].dropped == {"too_short": Count(documents=1, bytes=5)}
    assert len({part.inputs for part in parts.values()}) == 1


def test_parquet_is_split_by_any_column_that_names_kinds(read: Read, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": f"a text with the number {n}", "quality": n % 2 == 0} for n in range(30)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in" / "a.parquet", row_group_size=4)
    parts = read(shard_bytes=100)
    assert {name: part.ledger[-1].documents_out for name, part in parts.items()} == {"web/false": 15, "web/true": 15}
    assert [record for record, _ in texts_of(parts["web/true"], tmp_path)] == list(range(0, 30, 2))


def test_bad_records_are_held_against_the_source_and_not_against_a_small_part(read: Read, tmp_path: Path) -> None:
    lines = [orjson.dumps({"text": f"the text number {n}", "quality": "much"}) for n in range(98)]
    lines += [b'{"text": "one alone in its part", "quality": "little"}', b"{broken"]
    (tmp_path / "in" / "a.jsonl").write_bytes(b"\n".join(lines))
    assert read(reject="1%")["web/little"].ledger[0].documents_out == 1
    with pytest.raises(BadRecordsError, match=r"source web/\w+: 1 of 100 records \(1%\) have no usable text"):
        read(reject="0.9%")


def test_another_file_is_looked_through_alone(read: Read, tmp_path: Path, cluster: Cluster) -> None:
    (tmp_path / "in" / "a.jsonl").write_bytes(b"\n".join(LINES))
    read()
    (tmp_path / "in" / "b.jsonl").write_bytes(b'{"text": "of a new quality", "quality": "new"}')
    run, reused = cluster.stages_run, cluster.stages_reused
    assert list(read()) == ["web/3", "web/high", "web/low", "web/new"]
    # looked through: b; read: b for four parts and a for the new one
    assert (cluster.stages_run - run, cluster.stages_reused - reused) == (1 + 5, 1 + 3)


def test_what_has_no_columns_or_no_value_is_refused(read: Read, tmp_path: Path) -> None:
    (tmp_path / "in" / "a.txt").write_text("no columns here")
    with pytest.raises(RequestError, match=r"sources\.web\.split_by: .*a\.txt: text has no column 'quality'"):
        read()
    (tmp_path / "in" / "a.jsonl").write_bytes(b'{"text": "no quality here"}\n')
    with pytest.raises(SpecError, match="no record with a text has a value in the column 'quality'"):
        read("in/*.jsonl")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("high", "high"),
        (" ", " "),
        (7, "7"),
        (True, "true"),
        (None, "missing_split_value"),
        ("", "missing_split_value"),
        (0.5, "split_value_not_text"),
        (["high"], "split_value_not_text"),
        ("\ud800", "split_value_not_text"),
        (datetime.date(2026, 1, 1), "split_value_not_text"),
    ],
)
def test_values_are_texts_whole_numbers_and_truths(value: object, found: str) -> None:
    for column, fields in (("quality", {"quality": value}), ("meta.quality", {"meta": {"quality": value}})):
        got = value_of(Raw(4, None, "text", fields), column)
        assert (got.reason if isinstance(got, Reject) else got) == found
        assert isinstance(got, str) or got.record == 4
