"""A source that keeps documents by their labels: counted by hand, audited, replayed, built again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from in_process import InProcess, build_in
from mixproof.cli.commands.audit import audit_target
from mixproof.cli.commands.inspect import all_documents
from mixproof.cli.keep_trial import keep_json, print_keep, try_keep
from mixproof.cli.request import open_request
from mixproof.ledger.errors import MixproofError, RequestError
from mixproof.ledger.manifest import Manifest
from mixproof.mixtures.errors import SpecError
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.task_progress import TaskProgress
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.labels.of_spec import labelers_of
from mixproof.pipeline.read.documents import read_sources
from mixproof.tokenize.audit import replay_build
from mixproof.tokenize.audit.kept import check_kept
from mixproof.tokenize.audit.report import Checks

SPEC = """\
schema: 1
name: keep
labels: {odd: {regex: odd}, quality: {field: {name: meta.quality, type: number}}, size: {length: characters}}
sources:
  all:
    files: "web-*.jsonl"
    keep: [{label: odd, is: true}, {score: quality, top: 50%}, {score: size, at_most: 25}]
    split_by: {score: quality, edges: [36]}
  rest:
    files: rest.jsonl
    keep: [{score: quality, at_least: 20, missing: keep}, {label: odd, min_documents: 11}]
dedup: {exact: true, scope: source}
heldout: {create: {tokens: 1, min_documents: 1}}
tokenizer: {train: {vocab_size: 300, bytes: 1MB}}
mixtures: {whole: {all: 50%, rest: 50%}}
train: {sequence_length: 16, proxies: {nano: {tokens: 512, global_batch_size: 4, lr: 1e-3}}}
"""


def record(number: int) -> dict[str, Any]:
    """A document; the last five of 60 repeat the first ones, and every tenth has no quality."""
    own = number % 55
    quality = {} if own % 10 == 7 else {"meta": {"quality": own}}
    return {"text": f"{'odd' if own % 2 else 'even'} number {own}{' and more of it' * (own > 50)}.", **quality}


def write(folder: Path) -> Path:
    folder.mkdir()
    for name, numbers in (("web-0", range(30)), ("web-1", range(30, 60)), ("rest", range(40))):
        lines = [json.dumps(record(number)) + "\n" for number in numbers]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return folder


def build(folder: Path, spec: str = SPEC, cluster: Cluster | None = None, **options: Any) -> tuple[Path, Manifest]:  # noqa: ANN401
    return build_in(folder, spec, cluster, **options)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Manifest]:
    folder = write(tmp_path_factory.mktemp("keep") / "here")
    return folder, *build(folder)


def test_rules_are_applied_in_order_and_each_loss_is_counted_by_its_reason(built: tuple[Path, Path, Manifest]) -> None:
    folder, _, manifest = built
    # Of 55 different texts 27 are odd. 5 of them have no quality. Of the 22 others the upper 11 stay: from 29 on.
    # 51 and 53 are longer than 25 characters.
    row = next(row for row in manifest.sources["all/b02"].ledger if row.stage == "keep")
    counts = {reason: count.documents for reason, count in row.dropped.items()}
    assert counts == {"odd_other": 28, "quality_below": 11, "quality_missing": 5, "size_above": 2}
    assert (row.documents_in, row.documents_out) == (55, 9)
    assert manifest.kept["all"].rules[1].low == "29.0"
    assert [count.documents for count in manifest.cells["all"].parts.values()] == [4, 5]
    kept = [
        row["label.quality"]
        for name in ("all/b01", "all/b02")
        for side in (manifest.sources[name].train, manifest.sources[name].heldout)
        for part in side.datasets
        for row in pq.read_table(folder / "store" / part.provenance).to_pylist()
    ]
    assert sorted(kept) == [29, 31, 33, 35, 39, 41, 43, 45, 49]
    rest = next(row for row in manifest.sources["rest"].ledger if row.stage == "keep")
    # Of 40, 22 meet the first rule: 18 from 20 on with a quality, and 4 without. 10 of these are even, 12 are odd.
    assert {reason: count.documents for reason, count in rest.dropped.items()} == {"quality_below": 18, "odd_other": 10}
    assert rest.documents_out == 12
    assert manifest.kept["rest"].rules[1].values == ("true",)


def test_dropped_documents_are_on_the_list_of_removed_ones(built: tuple[Path, Path, Manifest]) -> None:
    folder, path, _ = built
    lists = json.loads((path.parent / "circumstances.json").read_text())["lists"]["all"]["removed"]
    rows = [row for each in lists for row in pq.read_table(folder / "store" / each["path"]).to_pylist()]
    found = Counter(row["reason"] for row in rows if row["stage"] == "keep")
    assert found == {"odd_other": 28, "quality_below": 11, "quality_missing": 5, "size_above": 2}
    assert ("web-1.jsonl", 21, "size_above") in {(row["file"], row["record"], row["reason"]) for row in rows}


def test_the_audit_decides_again_and_finds_a_moved_bound(built: tuple[Path, Path, Manifest]) -> None:
    folder, path, manifest = built
    seen: list[TaskProgress] = []
    assert audit_target(str(path), str(folder / "store"), "bytes", Cluster(progress=seen.append)).ok
    parts = sum(len(source.train.datasets) for source in manifest.sources.values())
    assert [(each.label, each.done, each.total) for each in seen] == [("audit", n + 1, parts) for n in range(parts)]
    request = open_request(folder / "spec.yaml", str(folder / "store"))
    with InProcess() as cluster:
        report = replay_build(request.spec, request.files(), request.store, path, cluster)
        assert report.ok, report.failures
        other = path.parent / "other.json"
        moved = manifest.kept["all"].rules[1].model_copy(update={"low": "31.0"})
        rules = (manifest.kept["all"].rules[0], moved, manifest.kept["all"].rules[2])
        kept = {**manifest.kept, "all": manifest.kept["all"].model_copy(update={"rules": rules})}
        other.write_bytes(manifest.model_copy(update={"kept": kept}).to_bytes())
        failures = replay_build(request.spec, request.files(), request.store, other, cluster).failures
    assert [(each.expected, each.found) for each in failures] == [
        ("kept by its labels", "quality_below by its labels found again")
    ]
    checks = Checks()
    unlike = manifest.kept["rest"].rules[0].model_copy(update={"low": "21.0"})
    empty = (unlike, manifest.kept["rest"].rules[1].model_copy(update={"values": ()}))
    kept = {**manifest.kept, "rest": manifest.kept["rest"].model_copy(update={"rules": empty})}
    check_kept(manifest.model_copy(update={"kept": kept}), checks)
    assert [failure.expected[:18] for failure in checks.failures] == ["rule 0 of the spec", "rule 1 of the spec"]


def test_inspect_shows_what_the_rules_drop_of_documents_that_are_not_deduplicated(
    built: tuple[Path, Path, Manifest], capsys: pytest.CaptureFixture[str]
) -> None:
    request, cluster = open_request(built[0] / "spec.yaml", str(built[0] / "store")), InProcess()
    spec, base = request.loaded.as_written, request.loaded.base
    sources = read_sources(spec, find_files(spec, base), request.store, cluster)
    selection = all_documents(spec, sources, request.store, cluster)
    kept, problems = try_keep(selection, labelers_of(spec, base))
    # The repeated 1 and 3 are odd too: of 29 odd documents 24 have a quality, and the upper 12 are from 25 on.
    assert {reason: lost.documents for reason, lost in kept["all"].row.dropped.items()} == {
        "odd_other": 31,
        "quality_below": 12,
        "quality_missing": 5,
        "size_above": 2,
    }
    assert not problems and keep_json(kept["all"])["kept"] == {"documents": 10, "bytes": kept["all"].row.bytes_out}
    print_keep("all", kept["all"])
    shown = capsys.readouterr().out
    assert "all: `keep` on 60 documents, before deduplication" in shown
    assert "rules: odd is true; quality at least 25; size at most 25" in shown
    assert try_keep(selection, {})[1] == [
        "sources.all.keep: odd, quality, size could not be computed on this sample",
        "sources.rest.keep: odd, quality could not be computed on this sample",
    ]


def test_two_workers_and_small_shards_give_the_same_build(
    built: tuple[Path, Path, Manifest], tmp_path: Path, cluster: Cluster
) -> None:
    assert build(write(tmp_path / "other"), cluster=cluster, shard_bytes=500)[1] == built[2]


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("top: 50%", "top: 50%, at_least: 1", SpecError, "needs `at_least`, `at_most` or both, or `top` alone"),
        ("score: quality, top: 50%", "score: qualty, top: 50%", SpecError, "no label 'qualty'; did you mean 'quality'"),
        ("label: odd, is: true", "score: odd, at_least: 1", SpecError, r"'odd' is not a number; write {label: odd, is"),
        ("score: quality, top: 50%", "label: quality, is: a", SpecError, r"'quality' is a number; write {score: qual"),
        ("label: odd, is: true", "label: odd", SpecError, "`label: odd` needs `is`"),
        ("label: odd, is: true", "label: odd, at_least: 1", SpecError, "`at_least` bounds a number"),
        ("min_documents: 11", "min_documents: 11, is: true", SpecError, "or `min_documents` alone"),
        ("top: 50%", "min_documents: 3", SpecError, "`min_documents` is about the values of a category"),
        ("min_documents: 11", "min_documents: 13", RequestError, "no value of 'odd' has 13 documents; .* one has 12"),
        ("at_least: 20, missing: keep", "at_least: 20, missing: error", RequestError, "4 documents have no value in"),
        ("at_least: 20, missing: keep", "at_least: 50", RequestError, "no document that has a value in 'odd' is left"),
        ("at_most: 25", "at_most: 1", RequestError, "no document is left of 55; dropped: odd_other 28, quality_below"),
        ("{length: characters}", "{clusters: {number: 2}}", SpecError, "'size' are found on the documents that `keep`"),
    ],
)
def test_what_cannot_be_decided_is_refused(
    built: tuple[Path, Path, Manifest], old: str, new: str, error: type[MixproofError], message: str
) -> None:
    assert old in SPEC
    with pytest.raises(error, match=message):
        build(built[0], SPEC.replace(old, new))
