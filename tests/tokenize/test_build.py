"""The whole build over small real sources: counts by hand, one result for every way to execute it."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sentencepiece import SentencePieceProcessor

from mixproof.ledger.account import Count
from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import sha256_of, sha256_of_file
from mixproof.ledger.manifest import Manifest, read_manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.load import load_spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.task_progress import TaskProgress
from mixproof.pipeline.read.shards import SHARD_BYTES
from mixproof.tokenize.build import BuildResult, build, find_build
from mixproof.tokenize.circumstances import STAGE_VERSIONS
from mixproof.tokenize.dataset.parts import PART_BYTES
from mixproof.tokenize.pointer import pointer

SPEC = """\
schema: 1
name: small
sources:
  manual: {files: "manual-*.jsonl"}
  guide: {files: "guide.jsonl.gz"}
  notes: {files: "notes.parquet", steps: [{length: {min_chars: 100}}]}
dedup: {exact: true, keep: [manual]}
heldout: {create: {min_documents: 2, tokens: 200}}
decontaminate: false
tokenizer: {sentencepiece: tok.model}
mixtures:
  even: {parts: {manual: 1, guide: 1, notes: 1}}
train:
  proxies:
    nano: {tokens: 64K, global_batch_size: 4, lr: 1e-3, min_lr: 1e-4}
"""
TRAINED = SPEC.replace("{sentencepiece: tok.model}", "{train: {vocab_size: 500, bytes: 100KB}}")


def record(text: str, name: str) -> bytes:
    return json.dumps({"id": name, "text": text}).encode() + b"\n"


@pytest.fixture
def folder(tmp_path: Path, topics: list[str], model: Path) -> Path:
    """Three sources. guide holds two texts of manual, notes three that are shorter than 100 characters."""
    place = tmp_path / "corpus"
    place.mkdir()
    for number, texts in enumerate((topics[:10], topics[10:20])):
        (place / f"manual-{number}.jsonl").write_bytes(
            b"".join(record(t, f"{number}/{i}") for i, t in enumerate(texts))
        )
    guide = [record(text, f"g{i}") for i, text in enumerate([*topics[20:30], *topics[:2]])]
    (place / "guide.jsonl.gz").write_bytes(gzip.compress(b"".join([*guide[:4], b"{broken\n", *guide[4:]])))
    notes = [*topics[30:45], "short", "shorter", "shortest"]
    pq.write_table(pa.table({"text": notes}), place / "notes.parquet", row_group_size=5)
    shutil.copy(model, place / "tok.model")
    return place


@pytest.fixture
def run(folder: Path, store: Store, cluster: Cluster) -> Callable[..., BuildResult]:
    """Build a spec over the folder."""

    def run(
        spec: str = SPEC,
        at: Path = folder,
        into: Store = store,
        shard_bytes: int = SHARD_BYTES,
        part_bytes: int = PART_BYTES,
    ) -> BuildResult:
        (at / "spec.yaml").write_text(spec)
        loaded = load_spec(at / "spec.yaml")
        return build(loaded, into, cluster, shard_bytes=shard_bytes, part_bytes=part_bytes)

    return run


def counted(cluster: Cluster) -> Callable[[], tuple[int, int]]:
    """A function that says how many stages were run and reused since."""
    run, reused = cluster.stages_run, cluster.stages_reused
    return lambda: (cluster.stages_run - run, cluster.stages_reused - reused)


def datasets_of(manifest: Manifest, store: Store) -> dict[str, str]:
    """The checksum of every file that the manifest names, computed anew."""
    paths = [source.inputs.path for source in manifest.sources.values()] + [manifest.tokenizer.path]
    for source in manifest.sources.values():
        assert source.heldout.texts is not None
        paths.append(source.heldout.texts.path)
        for part in (*source.train.datasets, *source.heldout.datasets):
            paths += [f"{part.prefix}.bin", f"{part.prefix}.idx", part.provenance]
    return {path: sha256_of_file(store.path(path)) for path in paths}


ALLOW_BAD = "on_bad_record: {reject: 10%}\n"


def test_the_account_runs_from_raw_records_to_encoded_documents(
    run: Callable[..., BuildResult], topics: list[str]
) -> None:
    manifest = run(SPEC + ALLOW_BAD).manifest
    guide, notes = manifest.sources["guide"], manifest.sources["notes"]
    assert [row.stage for row in guide.ledger] == ["read", "dedup", "split", "encode"]
    assert guide.ledger[0].dropped == {"invalid_json": Count(documents=1, bytes=0)}
    shared = sum(len(text.encode()) for text in topics[:2])
    assert guide.ledger[1].dropped == {"exact_duplicate": Count(documents=2, bytes=shared)}
    assert [(row.source, row.lost_to, row.documents, row.bytes) for row in manifest.dedup_matrix] == [
        ("guide", "manual", 2, shared)
    ]
    assert [row.stage for row in notes.ledger] == ["read", "length", "dedup", "split", "encode"]
    assert notes.ledger[1].dropped["too_short"].documents == 3
    for source, texts in (("manual", topics[:20]), ("guide", topics[20:30]), ("notes", topics[30:45])):
        stated = manifest.sources[source]
        assert stated.train.documents + stated.heldout.documents == len(texts)
        assert stated.train.bytes + stated.heldout.bytes == sum(len(text.encode()) for text in texts)
        assert stated.train.eod_tokens == stated.train.documents
    assert manifest.totals.documents == 45
    assert manifest.totals.tokens == sum(s.train.tokens + s.heldout.tokens for s in manifest.sources.values())


def test_the_circumstances_name_the_lists_of_what_went_and_where_their_records_start(
    run: Callable[..., BuildResult], folder: Path, store: Store, topics: list[str]
) -> None:
    (folder / "test.jsonl").write_bytes(record(topics[44], "e"))
    spec = SPEC.replace("100}}]", "100}}], keep_dropped: true").replace("decontaminate: false\n", "")
    build_id = run(f"{spec}{ALLOW_BAD}decontaminate: {{against: [test.jsonl]}}\n", shard_bytes=2000).manifest.build
    lists = json.loads(store.path(f"builds/{build_id}/circumstances.json").read_bytes())["lists"]
    assert set(lists) == {"guide", "notes"}

    def lost(source: str, kind: str) -> list[tuple[str, int, str]]:
        return [
            (one["file"], one["first_record"] + row["record"], row["reason"])
            for one in lists[source][kind]
            for row in pq.read_table(store.path(one["path"])).to_pylist()
        ]

    assert lost("guide", "rejected") == [("guide.jsonl.gz", 4, "invalid_json")]
    assert lost("notes", "dropped") == [("notes.parquet", 15 + place, "too_short") for place in range(3)]
    assert lost("notes", "decontaminated") == [("notes.parquet", 14, "evaluation_overlap")]
    assert lists["notes"].keys() == {"dropped", "decontaminated", "removed"}


def test_one_list_per_source_names_every_document_that_the_ledger_counts_as_removed(
    run: Callable[..., BuildResult], folder: Path, store: Store, topics: list[str]
) -> None:
    (folder / "test.jsonl").write_bytes(record(topics[44], "e"))
    spec = SPEC.replace("decontaminate: false\n", "")
    manifest = run(f"{spec}{ALLOW_BAD}decontaminate: {{against: [test.jsonl]}}\n", shard_bytes=2000).manifest
    lists = json.loads(store.path(f"builds/{manifest.build}/circumstances.json").read_bytes())["lists"]
    removed = {
        name: pa.concat_tables([pq.read_table(store.path(one["path"])) for one in kinds["removed"]]).to_pylist()
        for name, kinds in lists.items()
    }
    for name, source in manifest.sources.items():
        stated = {(row.stage, why): n.documents for row in source.ledger for why, n in row.dropped.items()}
        assert Counter((row["stage"], row["reason"]) for row in removed.get(name, [])) == stated
        assert sum(one["rows"] for one in lists.get(name, {}).get("removed", [])) == len(removed.get(name, []))
    assert [tuple(row.values()) for row in removed["guide"]] == [
        ("read", "invalid_json", "guide.jsonl.gz", 4, None, None, None, None, None),
        ("dedup", "exact_duplicate", "guide.jsonl.gz", 11, "g10", "manual", "manual-0.jsonl", 0, None),
        ("dedup", "exact_duplicate", "guide.jsonl.gz", 12, "g11", "manual", "manual-0.jsonl", 1, None),
    ]


def test_tokens_are_what_sentencepiece_gives_for_every_text(
    run: Callable[..., BuildResult], topics: list[str], model: Path
) -> None:
    manifest = run(SPEC + ALLOW_BAD).manifest
    processor = SentencePieceProcessor(model_file=str(model))
    assert manifest.totals.tokens == sum(len(ids) + 1 for ids in processor.encode(topics[:45]))


def test_the_build_is_the_same_under_any_split_number_of_workers_and_place(
    run: Callable[..., BuildResult], folder: Path, store: Store, tmp_path: Path
) -> None:
    first = run(TRAINED + ALLOW_BAD).manifest
    elsewhere = tmp_path / "another" / "place"
    shutil.copytree(folder, elsewhere)
    os.utime(elsewhere / "guide.jsonl.gz", (1, 1))
    other_store = Store(tmp_path / "other")
    loaded_at = elsewhere / "spec.yaml"
    loaded_at.write_text(TRAINED + ALLOW_BAD)
    second = run(TRAINED + ALLOW_BAD, elsewhere, other_store, shard_bytes=3_000).manifest
    assert other_store.keys("unpack"), "guide.jsonl.gz is divided"
    assert second == first
    assert datasets_of(second, other_store) == datasets_of(first, store)


@pytest.mark.slow
def test_one_worker_gives_the_bytes_of_two(
    run: Callable[..., BuildResult], folder: Path, store: Store, cluster: Cluster, tmp_path: Path
) -> None:
    first = run(TRAINED + ALLOW_BAD)
    alone = Store(tmp_path / "alone")
    cluster.__exit__(None, None, None)  # one Ray at a time
    with Cluster(workers=1) as one:
        second = build(load_spec(folder / "spec.yaml"), alone, one)
    assert second.manifest == first.manifest
    assert datasets_of(second.manifest, alone) == datasets_of(first.manifest, store)


def test_a_second_build_reuses_every_stage(
    run: Callable[..., BuildResult], cluster: Cluster, folder: Path, store: Store
) -> None:
    first = run(SPEC + ALLOW_BAD)
    since = counted(cluster)
    assert run(SPEC + ALLOW_BAD) == first
    assert since()[0] == 0
    tasks: list[TaskProgress] = []
    with Cluster(progress=tasks.append) as idle:
        assert build(load_spec(folder / "spec.yaml"), store, idle) == first
    assert not tasks, "nothing is left to do, so Ray is not even started"


def test_shares_and_seeds_and_names_leave_the_build_as_it_is(run: Callable[..., BuildResult], cluster: Cluster) -> None:
    first = run(SPEC + ALLOW_BAD)
    since = counted(cluster)
    other = SPEC.replace("manual: 1, ", "manual: 5, ").replace("name: small", "name: other").replace("64K", "128K")
    assert run(other + ALLOW_BAD).manifest_path == first.manifest_path
    assert since()[0] == 0


def test_an_appended_file_redoes_its_own_shard_and_what_it_touches(
    run: Callable[..., BuildResult], folder: Path, topics: list[str], cluster: Cluster
) -> None:
    spec = SPEC.replace("dedup: {exact: true, keep: [manual]}\n", "")
    first = run(spec + ALLOW_BAD).manifest
    (folder / "manual-2.jsonl").write_bytes(record(topics[50], "new"))
    since = counted(cluster)
    second = run(spec + ALLOW_BAD).manifest
    assert second.sources["guide"] == first.sources["guide"]
    assert second.sources["manual"].train.documents == first.sources["manual"].train.documents + 1
    done, reused = since()
    assert done < reused


def test_what_a_kill_left_unfinished_is_done_again_and_nothing_else(
    run: Callable[..., BuildResult], store: Store, cluster: Cluster
) -> None:
    first = run(TRAINED + ALLOW_BAD)
    before = datasets_of(first.manifest, store)
    encoded = sorted(store.path("tokens").iterdir())
    (encoded[0] / "receipt.json").unlink()  # killed before the receipt
    tokens = encoded[1] / "tokens.bin"
    tokens.write_bytes(tokens.read_bytes()[:-2])  # a file that is not whole
    (store.path("read") / sorted(path.name for path in store.path("read").iterdir())[0] / "receipt.json").unlink()
    store.path(".attempts/tokens-0123-abc").mkdir(parents=True)  # what the killed attempt left
    since = counted(cluster)
    assert run(TRAINED + ALLOW_BAD) == first
    assert since()[0] <= 3
    assert datasets_of(first.manifest, store) == before


def test_a_killed_build_finishes_with_the_same_manifest_from_every_stage_on(
    run: Callable[..., BuildResult], store: Store
) -> None:
    first = run(TRAINED + ALLOW_BAD)
    before = datasets_of(first.manifest, store)
    stages = [
        "read",
        "tokenizer",
        "train_tokenizer",
        "heldout",
        "split",
        "reserve",
        "tokens",
        "assemble",
        "encode",
        "builds",
    ]
    for stage in stages:
        shutil.rmtree(store.path(stage))
        assert run(TRAINED + ALLOW_BAD) == first, stage
    assert datasets_of(first.manifest, store) == before


def test_parts_are_bounded_and_their_sum_is_the_dataset(run: Callable[..., BuildResult], store: Store) -> None:
    whole = run(SPEC + ALLOW_BAD).manifest.sources["manual"].train
    parts = run(SPEC + ALLOW_BAD, part_bytes=20_000).manifest.sources["manual"].train
    assert len(parts.datasets) > 1
    assert sum(part.tokens for part in parts.datasets) == whole.tokens
    assert all(part.tokens * 2 <= 20_000 or part.documents == 1 for part in parts.datasets)
    joined = b"".join(store.path(f"{part.prefix}.bin").read_bytes() for part in parts.datasets)
    assert joined == store.path(f"{whole.datasets[0].prefix}.bin").read_bytes()


def test_the_manifest_names_contents_and_no_place(
    run: Callable[..., BuildResult], tmp_path: Path, store: Store
) -> None:
    result = run(SPEC + ALLOW_BAD)
    text = result.manifest_path.read_text()
    assert str(tmp_path) not in text
    assert "tok.model" not in json.dumps(result.manifest.spec)
    assert result.manifest.spec["tokenizer"]["sha256"] == result.manifest.tokenizer.sha256
    assert result.manifest.spec["sources"]["manual"]["inputs"] == result.manifest.sources["manual"].inputs.sha256
    assert result.manifest.spec_sha256 == sha256_of(result.manifest.spec)
    assert read_manifest(result.manifest_path) == result.manifest
    assert result.manifest_path == store.path(f"builds/{result.manifest.build}/manifest.json")
    circumstances = json.loads((result.manifest_path.parent / "circumstances.json").read_text())
    assert circumstances["stage_versions"] == STAGE_VERSIONS
    assert circumstances["places"]["manual"] == [f"{tmp_path}/corpus/"]


def test_held_out_sets_of_another_build_are_encoded_and_take_nothing(run: Callable[..., BuildResult]) -> None:
    first = run(SPEC + ALLOW_BAD)
    create = "heldout: {create: {min_documents: 2, tokens: 200}}"
    spec = SPEC.replace(create, f"heldout: {{from: {first.manifest_path}}}")
    second = run(spec.replace("decontaminate: false", "decontaminate: {}") + ALLOW_BAD).manifest
    for name, source in second.sources.items():
        theirs = first.manifest.sources[name].heldout
        assert source.heldout.datasets == theirs.datasets
        assert source.heldout.imported_from == first.manifest.build
        assert source.ledger[-1].documents_out == source.train.documents
        assert source.ledger[-3].dropped["heldout_overlap"].documents >= theirs.documents


@pytest.mark.parametrize("decontaminated", [True, False])
def test_a_tokenizer_trained_in_the_build_never_reads_imported_held_out_text(
    run: Callable[..., BuildResult], topics: list[str], store: Store, tmp_path: Path, decontaminated: bool
) -> None:
    first = run(SPEC + ALLOW_BAD)
    create = "heldout: {create: {min_documents: 2, tokens: 200}}"
    spec = TRAINED.replace(create, f"heldout: {{from: {first.manifest_path}}}").replace("100KB", "10MB")
    if decontaminated:
        spec = spec.replace("decontaminate: false", "decontaminate: {}")
    there = Store(tmp_path / "there")
    second = run(spec + ALLOW_BAD, into=there).manifest
    held: list[str] = []
    for source in second.sources.values():
        assert source.heldout.texts is not None
        held += pq.read_table(there.path(source.heldout.texts.path))["text"].to_pylist()
    samples = [pq.read_table(path)["text"].to_pylist() for path in there.root.glob("sample/*/candidates.parquet")]
    read = {text for sample in samples for text in sample}
    assert len(held) >= 6
    assert not read & set(held)
    assert len(read) == 45 - len(held)
    trained_on = sum(source.train.documents for source in second.sources.values())
    assert trained_on == (len(read) if decontaminated else 45)


def test_a_source_without_documents_is_named_with_what_became_of_them(run: Callable[..., BuildResult]) -> None:
    with pytest.raises(RequestError, match=r"sources\.notes: no document is left; of 18 records, length dropped 18"):
        run(SPEC.replace("min_chars: 100", "min_chars: 10000000") + ALLOW_BAD)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("tok.model", "nothing.model", "no file .*nothing.model"),
        ("tok.model", "guide.jsonl.gz", "is not a SentencePiece model"),
        ("tok.model}", "tok.model, eod: <eod>}", "no piece '<eod>'"),
        ("tok.model}", "tok.model, eod: e}", "'e' is not a control piece"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_is_refused_before_anything_is_written(
    run: Callable[..., BuildResult], store: Store, old: str, new: str, what: str
) -> None:
    with pytest.raises(RequestError, match=what):
        run(SPEC.replace(old, new) + ALLOW_BAD)
    assert not store.root.exists()


@pytest.fixture
def built(run: Callable[..., BuildResult], folder: Path) -> Iterator[BuildResult]:
    yield run(SPEC + ALLOW_BAD)
    assert (folder / "spec.yaml").is_file()


def test_a_pointer_knows_the_models_of_filters(folder: Path) -> None:
    model = folder / "model.bin"
    model.write_bytes(b"one")
    step = f"{{datatrove: FastTextClassifierFilter, model_url: {model}, keep_labels: [[good, 0.5]]}}"
    for text in (SPEC.replace("{length: {min_chars: 100}}", step), f"{SPEC}labels: {{fine: {{step: {step}}}}}\n"):
        (folder / "spec.yaml").write_text(text)
        loaded = load_spec(folder / "spec.yaml")
        before = pointer(loaded, {})
        model.write_bytes(model.read_bytes() + b"!")
        assert pointer(loaded, {}) != before


def test_a_spec_finds_its_build_until_a_file_changes(built: BuildResult, folder: Path, store: Store) -> None:
    loaded = load_spec(folder / "spec.yaml")
    assert find_build(loaded, store) == built.manifest_path
    (folder / "manual-0.jsonl").write_bytes(record("another text", "x"))
    assert find_build(loaded, store) is None
