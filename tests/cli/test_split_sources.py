"""A source split by a column, through every command: its parts are built, stated, audited, planned and found again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from in_process import InProcess
from mixproof.cli.commands.audit import audit_target
from mixproof.cli.commands.build import run_build
from mixproof.cli.commands.plan import make_plan
from mixproof.cli.plan_report import plan_json
from mixproof.cli.request import Request, open_request
from mixproof.cli.tables.account_table import account_table
from mixproof.ledger.account import Count
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.datasets import SplitRecord
from mixproof.mixtures.errors import SpecError
from mixproof.tokenize.audit import replay_build
from mixproof.tokenize.dataset.merge import merge_parts

TEXTS = [
    f"The text with the number {number} says that {number * 7} and {number % 5} are numbers." for number in range(60)
]
KIND = [("a b", "../c")[number % 3 == 0] for number in range(60)]
"""Of two kinds: 40 and 20 texts."""
PARTS = ("web/%2E.%2Fc", "web/a%20b")
SPLIT = """\
schema: 1
name: split
sources:
  web: {files: "web-*.jsonl", split_by: kind, steps: [{length: {min_chars: 20}}]}
  rest: {files: "rest.jsonl"}
on_bad_record: {reject: 10%}
dedup: {exact: true, keep: [rest, web]}
heldout: {create: {tokens: 60, min_documents: 2}}
decontaminate: false
tokenizer: {train: {vocab_size: 400, bytes: 1MB}}
mixtures:
  all: {web: 60%, rest: 40%}
  first: {"web/a%20b": 100%}
train: {sequence_length: 16, proxies: {nano: {tokens: 512, global_batch_size: 4, lr: 1e-3, min_lr: 1e-4}}}
"""


@dataclass(frozen=True)
class Folder:
    """A folder with a spec and a store."""

    path: Path

    def open(self) -> Request:
        """The spec as a command opens it."""
        return open_request(self.path / "spec.yaml", str(self.path / "store"))

    def build(self, shard_bytes: int = 10**8) -> Manifest:
        """Build the spec."""
        with InProcess() as cluster:
            return run_build(self.open(), cluster, shard_bytes=shard_bytes).manifest

    def texts(self, side: SplitRecord) -> list[tuple[str, int]]:
        """Place (file, record) of every document of one side."""
        tables = [pq.read_table(self.path / "store" / part.provenance) for part in side.datasets]
        return [(row["file"], row["record"]) for table in tables for row in table.to_pylist()]


def lines(records: Sequence[object]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def write(folder: Path) -> Folder:
    """Two files of `web`, records of both kinds in turn, one of no kind; `rest` has two texts of each kind as well."""
    folder.mkdir()
    web: list[object] = [{"text": text, "kind": kind} for text, kind in zip(TEXTS, KIND, strict=True)]
    (folder / "web-0.jsonl").write_bytes(lines([*web[:30], {"text": "a text of no kind at all"}]))
    (folder / "web-1.jsonl").write_bytes(lines(web[30:]) + b"\n")
    rest = [{"text": f"Another text, the {number}th, of the rest."} for number in range(30)]
    (folder / "rest.jsonl").write_bytes(lines([*rest, *({"text": text} for text in (*TEXTS[:2], *TEXTS[3:5]))]))
    (folder / "spec.yaml").write_text(SPLIT)
    return Folder(folder)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, Manifest]:
    folder = write(tmp_path_factory.mktemp("split") / "here")
    return folder, folder.build()


def test_each_part_has_an_account_of_its_own_that_closes(built: tuple[Folder, Manifest]) -> None:
    folder, manifest = built
    assert sorted(manifest.sources) == ["rest", *PARTS]
    for name, kind, own, lost in ((PARTS[0], "../c", 20, 2), (PARTS[1], "a b", 40, 2)):
        source = manifest.sources[name]
        read, steps, dedup, *_ = source.ledger
        assert (read.documents_in, read.documents_out, source.inputs.records) == (62, own, 62)
        assert {reason: gone.documents for reason, gone in read.dropped.items()} == {
            "blank_line": 1,
            "missing_split_value": 1,
            "of_another_part": 60 - own,
        }
        assert steps.documents_out == own
        shared = [text for text, of in zip(TEXTS[:5], KIND, strict=False) if of == kind and text != TEXTS[2]]
        gone = Count(documents=lost, bytes=sum(len(text) for text in shared))
        assert dedup.dropped == {"exact_duplicate": gone}
        assert source.train.documents + source.heldout.documents == own - lost
        places = {(f"web-{at // 30}.jsonl", at % 30) for at in range(5, 60) if KIND[at] == kind}
        assert places <= set(folder.texts(source.train) + folder.texts(source.heldout))
    assert {(row.source, row.lost_to, row.documents) for row in manifest.dedup_matrix} == {
        (PARTS[0], "rest", 2),
        (PARTS[1], "rest", 2),
    }
    shown = [list(map(str, column.cells)) for column in account_table(manifest).columns]
    assert [row[:3] for row in zip(*shown, strict=True)][1:] == [(PARTS[0], "22", "2"), (PARTS[1], "42", "2")]


def test_every_depth_of_the_audit_is_clean(built: tuple[Folder, Manifest]) -> None:
    folder, _ = built
    assert audit_target(str(folder.path / "spec.yaml"), str(folder.path / "store"), "bytes").ok
    request = folder.open()
    with InProcess() as cluster:
        report = replay_build(request.spec, request.files(), request.store, request.manifest_path(), cluster)
    assert report.ok


def test_a_part_is_encoded_as_if_its_records_were_all_there_are(built: tuple[Folder, Manifest], tmp_path: Path) -> None:
    folder, manifest = built
    alone = write(tmp_path / "alone")
    for number in (0, 1):
        web = list(map(json.loads, (folder.path / f"web-{number}.jsonl").read_bytes().split(b"\n")[:30]))
        (alone.path / f"web-{number}.jsonl").write_bytes(lines([record for record in web if record["kind"] == "a b"]))
    tokenizer = folder.path / "store" / manifest.tokenizer.path
    shutil.copy(tokenizer, alone.path / "tok.model")
    spec = SPLIT.replace("split_by: kind, ", "").replace(
        "{train: {vocab_size: 400, bytes: 1MB}}", "{sentencepiece: tok.model}"
    )
    (alone.path / "spec.yaml").write_text(spec.replace("web/a%20b", "web"))
    theirs, own = alone.build().sources["web"], manifest.sources[PARTS[1]]
    for side, other in ((own.train, theirs.train), (own.heldout, theirs.heldout)):
        assert [part.bin_sha256 for part in side.datasets] == [part.bin_sha256 for part in other.datasets]
    assert theirs.ledger[1:] == own.ledger[1:]


def test_the_build_is_the_same_under_any_split_into_shards(built: tuple[Folder, Manifest], tmp_path: Path) -> None:
    assert write(tmp_path / "there").build(shard_bytes=500) == built[1]


def test_a_plan_goes_by_the_parts_of_the_build_and_before_it_by_those_that_are_named(
    built: tuple[Folder, Manifest], tmp_path: Path
) -> None:
    before = plan_json(make_plan(write(tmp_path / "before").open()))
    assert before["built"] is False
    assert sorted(before["sources"]) == ["rest", "web/a%20b"]  # type: ignore[call-overload]
    planned = make_plan(built[0].open())
    after = plan_json(planned)
    assert after["built"] is True
    assert sorted(after["sources"]) == ["rest", *PARTS]  # type: ignore[call-overload]
    shares = planned.budgets["all", "nano"].declared
    tokens = {part: built[1].sources[part].train.tokens for part in PARTS}
    assert shares == {part: shares["web/a%20b"] * tokens[part] / tokens["web/a%20b"] for part in PARTS} | {
        "rest": 1 - sum(shares[part] for part in PARTS)
    }
    assert float(shares["rest"]) == 0.4


def test_a_part_that_is_not_there_is_refused_once_the_values_are_known(tmp_path: Path) -> None:
    folder = write(tmp_path / "wrong")
    (folder.path / "spec.yaml").write_text(SPLIT.replace("a%20b", "a%20c"))
    with pytest.raises(
        SpecError, match=r"mixtures\.first\.web/a%20c: source 'web' has no part 'web/a%20c'; did you mean 'web/a%20b'\?"
    ):
        folder.build()


def test_parts_of_datasets_are_joined_in_a_folder_of_their_source(
    built: tuple[Folder, Manifest], tmp_path: Path
) -> None:
    folder, manifest = built
    merged = merge_parts(folder.open().store, manifest, tmp_path)
    assert f"{PARTS[0]}-train" in {one.prefix for one in merged}
    assert (tmp_path / "web" / "a%20b-heldout.bin").is_file()
