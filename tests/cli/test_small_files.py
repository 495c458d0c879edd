"""Many small files are read in groups: every number, id and byte is that of reading them one by one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import typer

from in_process import InProcess
from mixproof.cli.commands.audit import audit_target
from mixproof.cli.commands.build import parse_size, run_build
from mixproof.cli.request import Request, open_request
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.store import Store
from mixproof.pipeline.read.shards import DOCUMENTS
from mixproof.tokenize.audit import replay_build

FILES = 48
ONE_BY_ONE = 10_000
"""Bytes of a shard: every file is too large for a group, and none is divided."""
GROUPS_OF_SOME = 40_000
"""Bytes of a shard: every file is small, and groups have about as many bytes."""
SPEC = """\
schema: 1
name: small-files
labels: {size: {length: bytes}, topic: {field: {name: topic, type: text}}}
sources:
  web: {files: "web/*.jsonl", split_by: size_class, steps: [{length: {min_chars: 30}}]}
  notes: {files: "notes/*", steps: [ftfy]}
on_bad_record: {reject: 10%}
dedup: {exact: true, fuzzy: {}, paragraphs: {min_words: 4}}
heldout: {create: {tokens: 40, min_documents: 2}}
tokenizer: {train: {vocab_size: 400, bytes: 1MB}}
mixtures: {some: {"web/odd": 30%, "web/even": 30%, notes: 40%}}
train: {sequence_length: 16, proxies: {nano: {tokens: 512, global_batch_size: 4, lr: 1e-3}}}
"""


def record(file: int, line: int) -> str:
    """One line: some are blank or broken, some texts are repeated in other files, paragraphs as well."""
    number = file * 10 + line
    if number % 37 == 5:
        return ["", '{"text": 7}', "{"][number % 3]
    own = number // 2 if number % 29 == 0 else number
    said = " ".join(f"word{(own * 31 + place * 7) % 211}" for place in range(8 + own % 9))
    shared = "\nThe same closing words stand below many texts." if own % 4 == 0 else ""
    text = "short" if own % 41 == 0 else f"Text {own} says {said}.{shared}"
    size_class = "odd" if own % 2 else "even"
    return json.dumps({"text": text, "id": f"d{number}", "size_class": size_class, "topic": f"t{own % 3}"})


def write(folder: Path) -> None:
    for name, first in (("web", 0), ("notes", 500)):
        (folder / name).mkdir(parents=True)
        for file in range(FILES):
            lines = [record(first + file, line) for line in range(1 + file % 7)]
            lines.append("" if file % 5 else " " * 1300)  # some files are larger, but none is large
            (folder / name / f"{file:03d}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "notes" / "040a.jsonl.gz").write_bytes(gzip.compress(record(600, 1).encode() + b"\n", mtime=0))


def opened(folder: Path) -> Request:
    (folder / "spec.yaml").write_text(SPEC)
    return open_request(folder / "spec.yaml", str(folder / "store"))


def build(folder: Path, shard_bytes: int = 10**8) -> tuple[Manifest, InProcess, set[str]]:
    """Build; also returns the keys of the shards that were read or reused."""
    with InProcess() as cluster:
        manifest = run_build(opened(folder), cluster, shard_bytes=shard_bytes).manifest
    store = Store(folder / "store")
    keys = {key for key in store.keys("read") if store.path(f"read/{key}/{DOCUMENTS}").is_file()}
    return manifest, cluster, keys


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest, set[str]]:
    folder = tmp_path_factory.mktemp("small") / "files"
    write(folder)
    manifest, _, keys = build(folder)
    return folder, manifest, keys


def test_groups_change_no_number_and_no_byte_of_a_build(
    grouped: tuple[Path, Manifest, set[str]], tmp_path: Path
) -> None:
    _, manifest, keys = grouped
    assert len(keys) == 2 + 1 + 1 + 7, "two parts; a group, a compressed file, and too few files for a group"
    write(tmp_path / "other")
    one_by_one, _, own_keys = build(tmp_path / "other", ONE_BY_ONE)
    assert len(own_keys) > 2 * FILES
    assert one_by_one == manifest
    assert manifest.sources["notes"].inputs.files == FILES + 1


def test_an_added_file_has_its_group_read_again_and_leaves_all_other_outputs_as_they_are(
    grouped: tuple[Path, Manifest, set[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "grown"
    write(folder)
    first, _, keys = build(folder, GROUPS_OF_SOME)
    assert first == grouped[1], "smaller groups change nothing either"
    before = {path: path.stat().st_mtime_ns for path in (folder / "store").glob("*/*/*") if path.is_file()}
    before = {path: time for path, time in before.items() if path.parent.name != "by-spec"}
    (folder / "notes" / "020a.jsonl").write_text(record(700, 1) + "\n" + record(701, 2) + "\n")
    second, cluster, all_keys = build(folder, GROUPS_OF_SOME)
    assert second.sources["notes"].inputs.records == first.sources["notes"].inputs.records + 2
    assert 1 <= len(all_keys - keys) <= 2 < len(keys)
    assert cluster.tasks["read"] == 1
    kept = {path: path.stat().st_mtime_ns for path in before if path.is_file()}
    assert {path for path in before if kept.get(path) != before[path]} == set()


def test_both_audits_of_a_grouped_build_find_nothing(grouped: tuple[Path, Manifest, set[str]]) -> None:
    folder, manifest, _ = grouped
    path = folder / "store" / "builds" / manifest.build / "manifest.json"
    assert audit_target(str(path), str(folder / "store"), "bytes").failures == ()
    request = opened(folder)
    with InProcess() as cluster:
        report = replay_build(request.spec, request.files(), request.store, path, cluster)
    assert report.failures == ()
    assert report.checks > manifest.totals.documents


@pytest.mark.parametrize(("given", "size"), [("10KB", 10_000), ("64MB", 64_000_000), ("4096", 4096)])
def test_the_size_of_a_shard_is_read_as_in_a_spec(given: str, size: int) -> None:
    assert parse_size(given) == size


@pytest.mark.parametrize("given", ["0", "ten", "10 pounds", "-5"])
def test_what_is_not_a_size_is_refused(given: str) -> None:
    with pytest.raises(typer.BadParameter, match="bytes"):
        parse_size(given)
