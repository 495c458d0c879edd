"""Audit of a run that was really trained: clean as it is, and every change to it caught and named."""

from __future__ import annotations

import hashlib
import io
import json
import math
import pydoc_data.topics
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sentencepiece

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import read_manifest
from mixproof.ledger.store.receipt import Receipt, StoredFile
from mixproof.tokenize.audit import Failure
from mixproof.tokenize.audit.report import Checks
from mixproof.train.audit.draws import check_draw
from mixproof.train.audit.run import audit_run
from mixproof.train.data.draw import DrawSize, make_draw
from mixproof.train.loop.run import train_run
from mixproof.train.record import ArchitectureRecord, MasksRecord, RunRecord
from mixproof.train.request import Recipe, RunRequest

Make = Callable[..., Any]
Documents = Callable[..., list[list[int]]]
VOCAB_SIZE = 400
LENGTH = 16


def tokenizer_model() -> bytes:
    model = io.BytesIO()
    texts = [text[:2000] for text in pydoc_data.topics.topics.values()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=VOCAB_SIZE, model_type="bpe", minloglevel=2
    )
    return model.getvalue()


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, make_corpus_at: Make, documents: Documents, make_budget: Make
) -> tuple[Path, str]:
    """A store with a finished run of two phases, and the run's key; b is repeated, a is drawn in part."""
    root = tmp_path_factory.mktemp("trained") / "store"
    train = {name: documents(i, n, 40, VOCAB_SIZE) for i, (name, n) in enumerate({"a": 120, "b": 12, "c": 9}.items())}
    heldout = {name: documents(i + 5, 4, 40, VOCAB_SIZE) for i, name in enumerate("abc")}
    corpus = make_corpus_at(root, train, heldout, parts=2, vocab_size=VOCAB_SIZE, model=tokenizer_model())
    budget = make_budget(LENGTH, {"a": 12, "b": 12}, {"a": 4, "b": 12}, global_batch_size=4)
    draws = {
        s: make_draw(corpus.store, corpus.manifest, DrawSize(s, n * LENGTH + 1)) for s, n in budget.samples_of.items()
    }
    record = train_run(
        RunRequest(
            store=str(root),
            build=corpus.manifest.build,
            spec_name="small",
            mixture="half",
            proxy="tiny",
            seed=1,
            architecture=ArchitectureRecord(layers=1, hidden=16, ffn=24, heads=2, kv_heads=1, head_dim=8),
            recipe=Recipe(
                lr="1/1000", min_lr="1/10000", shape="linear", weight_decay="0", clip="1", betas=("0.9", "0.95")
            ),
            masks=MasksRecord(document_mask=False, eod_mask_loss=False, reset_position_ids=False),
            rope_base=10000,
            budget=budget,
            tokenizer=corpus.manifest.tokenizer,
            draws=draws,
            heldout={name: source.heldout for name, source in corpus.manifest.sources.items()},
            device="cpu",
            micro_batch_size=None,
        )
    )
    return root, record.key


@pytest.fixture
def run(trained: tuple[Path, str], tmp_path: Path) -> Path:
    """The folder of the run in a copy of the store at another place."""
    shutil.copytree(trained[0], tmp_path / "moved")
    return tmp_path / "moved" / "train" / trained[1]


def failures(run: Path) -> list[Failure]:
    report = audit_run(run)
    assert report.ok is not bool(report.failures)
    return list(report.failures)


def flip(path: Path, place: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def edit(run: Path, *keys: Any, to: Any) -> None:  # noqa: ANN401  JSON
    """Change one value of the record and keep its form."""
    record = json.loads((run / "run.json").read_bytes())
    inner = record
    for key in keys[:-1]:
        inner = inner[key]
    assert inner[keys[-1]] != to
    inner[keys[-1]] = to
    text = json.dumps(record, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    (run / "run.json").write_text(text)
    seal(run)


def seal(run: Path) -> None:
    """Write a receipt for the record as it is now, as one who wants a change to go unnoticed would."""
    data = (run / "run.json").read_bytes()
    files = {"run.json": StoredFile(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))}
    (run / "receipt.json").write_bytes(Receipt(stage="train", key=run.name, files=files).to_bytes())


def replace_array(run: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change an array and every checksum of it, as one who wants it to go unnoticed would."""
    path = run / "index" / name
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    np.save(path, change(np.load(path)))
    after = hashlib.sha256(path.read_bytes()).hexdigest()
    index = run / "index" / "index.json"
    old_index = hashlib.sha256(index.read_bytes()).hexdigest()
    index.write_text(index.read_text().replace(before, after))
    new_index = hashlib.sha256(index.read_bytes()).hexdigest()
    record = (run / "run.json").read_text().replace(before, after).replace(old_index, new_index)
    (run / "run.json").write_text(record)
    seal(run)


def test_a_finished_run_is_clean_at_both_depths_wherever_its_store_lies(run: Path) -> None:
    assert failures(run) == []
    arithmetic, everything = audit_run(run / "run.json", "arithmetic"), audit_run(run, "bytes")
    assert arithmetic.ok and everything.ok
    assert 50 < arithmetic.checks < everything.checks


def test_what_a_comparison_is_read_from_is_checked_without_the_checkpoints(run: Path) -> None:
    record = RunRecord.model_validate_json((run / "run.json").read_bytes())
    assert audit_run(run, "arithmetic", compared=True).ok
    for name in (*record.index, *record.files):
        path = run / name
        raw = path.read_bytes()
        path.write_bytes(bytes([raw[0] ^ 1]) + raw[1:])
        found = audit_run(run, "arithmetic", compared=True)
        path.write_bytes(raw)
        assert found.ok is name.startswith("checkpoints/"), name


def test_a_flipped_byte_of_any_file_is_caught_by_its_checksum(run: Path) -> None:
    record = RunRecord.model_validate_json((run / "run.json").read_bytes())
    draws = [
        run.parents[1] / "draw" / draw.key / f"{source}{suffix}"
        for source, draw in record.draws.items()
        for suffix in (".bin", ".idx", ".parquet")
    ]
    files = [run / name for name in (*record.index, *record.files)] + draws
    assert len(files) > 25
    for path in files:
        whole = path.read_bytes()
        flip(path)
        found = failures(run)
        assert next(f.file for f in found if f.equation == "checksum") == str(path)
        path.write_bytes(whole)
    assert failures(run) == []


@pytest.mark.parametrize(
    "keys",
    [("spec_name",), ("reason",), ("tokenizer", "lossless"), ("delivered", "a", "epochs"), ("heldout", "c", "loss")],
)
def test_what_stands_in_no_equation_is_sealed_to_its_last_digit(run: Path, keys: tuple[str, ...]) -> None:
    record = json.loads((run / "run.json").read_bytes())
    inner = record
    for key in keys[:-1]:
        inner = inner[key]
    old = inner[keys[-1]]
    inner[keys[-1]] = (
        not old if isinstance(old, bool) else math.nextafter(old, 9) if isinstance(old, float) else "other"
    )
    (run / "run.json").write_text(json.dumps(record, sort_keys=True, indent=1, ensure_ascii=False) + "\n")
    assert [(f.equation, f.file) for f in failures(run)] == [("checksum", str(run / "run.json"))]


def test_a_seal_that_is_damaged_missing_or_of_another_run_is_named_and_not_the_record(run: Path) -> None:
    path = run / "receipt.json"
    whole = path.read_bytes()
    other = Receipt(stage="train", key="0" * 64, files={}).to_bytes()
    for data in (whole[:-1], whole.replace(b"run.json", b"run.jsom"), other, None):
        path.unlink()
        if data is not None:
            path.write_bytes(data)
        assert {f.file for f in failures(run)} == {str(path)}
        path.write_bytes(whole)


def test_a_truncated_or_missing_file_is_caught(run: Path) -> None:
    path = run / "scores.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert [(f.equation, f.file) for f in failures(run)] == [("checksum", str(path))]
    path.unlink()
    assert [(f.equation, f.file) for f in failures(run)] == [("checksum", str(path))]


@pytest.mark.parametrize(
    ("keys", "to", "equation"),
    [
        (("consumed_samples",), 41, "E9"),
        (("consumed_tokens",), 1, "E9"),
        (("tokens_declared",), 1, "E9"),
        (("tokens_planned",), 1, "E9"),
        (("steps",), 11, "E9"),
        (("flops",), 1, "schema"),
        (("seed",), 2, "schema"),
        (("status",), "failed", "schema"),
        (("parameters", "total"), 1, "schema"),
        (("parameters", "non_embedding"), 1, "schema"),
        (("architecture", "hidden"), 32, "schema"),
        (("masks", "eod_mask_loss"), True, "schema"),
        (("tokenizer", "eod_id"), 3, "E5"),
        (("delivered", "a", "samples"), 17, "E9"),
        (("delivered", "a", "tokens"), 17, "E9"),
        (("delivered", "b", "planned"), 17, "E8"),
        (("delivered", "b", "epochs"), 1.0, "E9"),
        (("delivered", "b", "unique_tokens"), 1, "E9"),
        (("delivered", "b", "declared"), 0.9, "E8"),
        (("phases", 1, "samples"), 17, "E8"),
        (("phases", 1, "samples_of", "a"), 5, "E8"),
        (("draws", "a", "tokens"), 5, "E6"),
        (("draws", "a", "documents"), 5, "E6"),
        (("heldout", "c", "tokens"), 5, "E10"),
        (("heldout", "c", "bytes"), 5, "E10"),
        (("heldout", "c", "documents"), 5, "E10"),
        (("heldout", "c", "loss"), 5.0, "E10"),
        (("heldout", "c", "bits_per_byte"), 5.0, "E10"),
        (("heldout", "c", "datasets_sha256"), "0", "checksum"),
        (("heldout", "c", "texts_sha256"), "1", "checksum"),
        (("evaluation", "sequence_length"), 8, "E10"),
    ],
)
def test_an_edited_count_breaks_an_equation_without_opening_a_file(
    run: Path,
    keys: tuple[str, ...],
    to: Any,  # noqa: ANN401
    equation: str,
) -> None:
    edit(run, *keys, to=to)
    found = audit_run(run, "arithmetic")
    assert equation in {failure.equation for failure in found.failures}
    assert all(failure.file for failure in found.failures)


@pytest.mark.parametrize(
    ("keys", "to"),
    [
        (("recipe", "lr"), "1/500"),
        (("recipe", "min_lr"), "0"),
        (("recipe", "shape"), "cosine"),
        (("recipe", "weight_decay"), "1/10"),
        (("recipe", "clip"), "0"),
        (("recipe", "betas"), "0.9 0.99"),
        (("recipe", "warmup_steps"), "3"),
        (("recipe", "decay_steps"), "3"),
        (("masks", "document_mask"), True),
        (("rope_base",), 500_000),
        (("mixture",), "other"),
        (("proxy",), "62m"),
        (("seed",), 7),
        (("tokens_declared",), 639),
        (("delivered", "b", "declared"), 0.5999999999999),
        (("evaluation", "protocol"), 9),
        (("tokenizer", "vocab_size"), 401),
        (("draws", "a", "bin_sha256"), "0"),
        (("heldout", "c", "datasets_sha256"), "0"),
        (("phases", 0, "samples_of", "a"), 11),
    ],
)
def test_whatever_the_folder_is_named_after_cannot_be_edited_in_the_record(
    run: Path,
    keys: tuple[str, ...],
    to: Any,  # noqa: ANN401
) -> None:
    edit(run, *keys, to=to)
    found = audit_run(run, "arithmetic").failures
    name = keys[0] if keys[0] in ("masks", "draws", "phases") else ".".join(keys)
    assert [f.file for f in found if f.expected.startswith(f"{name} = ")] == [str(run / "identity.json")]


def test_an_identity_that_was_edited_or_lost_is_not_the_one_that_the_folder_is_named_after(run: Path) -> None:
    path = run / "identity.json"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == run.name
    text = path.read_text()
    edit(run, "recipe", "lr", to="1/500")
    path.write_text(text.replace('"lr":"1/1000"', '"lr":"1/500"'))
    assert [(f.equation, f.file) for f in failures(run)] == [("checksum", str(path))]
    path.unlink()
    assert [(f.equation, f.file) for f in failures(run)] == [("checksum", str(path))]


def test_samples_moved_from_one_source_to_another_are_caught_by_the_replay(run: Path) -> None:
    edit(run, "delivered", "a", "samples", to=17)
    edit(run, "delivered", "a", "tokens", to=17 * LENGTH)
    edit(run, "delivered", "b", "samples", to=23)
    edit(run, "delivered", "b", "tokens", to=23 * LENGTH)
    found = [f for f in failures(run) if "replayed" in f.expected]
    assert [(f.equation, f.source, f.expected, f.found) for f in found] == [
        ("E9", "a", "16 samples, replayed from the index", "17 samples, replayed from the index"),
        ("E9", "b", "24 samples, replayed from the index", "23 samples, replayed from the index"),
    ]


@pytest.mark.parametrize(
    ("name", "equation", "source"),
    [
        ("stream-000-epoch-0000-document_index.npy", "E7", "a"),
        ("stream-001-epoch-0001-sample_index.npy", "E7", "b"),
        ("stream-001-epoch-0000-shuffle_index.npy", "E7", "b"),
        ("stream-001-lengths.npy", "E6", "b"),
        ("phase-000-dataset_index.npy", "E8", ""),
        ("phase-001-dataset_sample_index.npy", "E8", ""),
    ],
)
def test_a_stale_array_with_matching_checksums_is_derived_again_and_caught(
    run: Path, name: str, equation: str, source: str
) -> None:
    replace_array(run, name, lambda array: array[::-1])
    found = failures(run)
    assert (equation, source, name) in {(f.equation, f.source, Path(f.file).name) for f in found}
    assert {f.equation for f in found} <= {equation, "E9"}


def test_an_index_of_another_epoch_is_caught(run: Path) -> None:
    other = np.load(run / "index" / "stream-001-epoch-0001-shuffle_index.npy")
    replace_array(run, "stream-001-epoch-0000-shuffle_index.npy", lambda _: other)
    assert [(f.equation, f.source, f.shard) for f in failures(run)] == [("E7", "b", "epoch 0")]


def test_a_draw_swapped_for_that_of_another_source_is_caught(run: Path) -> None:
    record = RunRecord.model_validate_json((run / "run.json").read_bytes())
    folder = run.parents[1] / "draw"
    ours, other = folder / record.draws["a"].key / "a.bin", folder / record.draws["b"].key / "b.bin"
    shutil.copy(other, ours)
    assert [(f.equation, f.source, f.stage, Path(f.file).name) for f in failures(run)] == [
        ("checksum", "a", "draw", "a.bin")
    ]


def test_metrics_with_a_line_twice_or_without_one_break_e9(run: Path) -> None:
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for changed in (lines[:-1], [*lines, lines[-1]], [lines[1], lines[0], *lines[2:]]):
        path.write_bytes(b"".join(changed))
        edit(run, "files", "metrics.jsonl", to=hashlib.sha256(path.read_bytes()).hexdigest())
        assert {(f.equation, f.file) for f in failures(run)} == {("E9", str(path))}


def test_targets_moved_from_one_source_to_another_in_the_metrics_break_e9(run: Path) -> None:
    path = run / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    of = lines[-1]["targets_of"]
    source = next(iter(of))
    of[source] -= 1
    of["elsewhere"] = 1
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    edit(run, "files", "metrics.jsonl", to=hashlib.sha256(path.read_bytes()).hexdigest())
    assert [(f.equation, f.file) for f in failures(run)] == [("E9", str(path))]


@pytest.mark.parametrize("rows", [0, 1])
def test_a_seed_beyond_64_bits_is_audited_and_belongs_into_no_table_of_runs(run: Path, rows: int) -> None:
    from mixproof.train.runs_schema import SCHEMA

    edit(run, "seed", to=2**64)  # as early versions trained it
    row = dict.fromkeys(SCHEMA.names) | {"key": run.name}
    pq.write_table(pa.Table.from_pylist([row] * rows, schema=SCHEMA), run.parents[1] / "runs.parquet")
    found = [f for f in failures(run) if f.file.endswith("runs.parquet")]
    expected = "0 rows of a run whose numbers do not fit the columns"
    assert [f.expected for f in found] == [expected] * rows


def test_a_record_of_another_form_or_place_is_refused(run: Path, tmp_path: Path) -> None:
    text = (run / "run.json").read_text()
    (run / "run.json").write_text(text + " ")
    assert [f.equation for f in failures(run)] == ["schema", "checksum"]
    (run / "run.json").write_text("{}")
    assert [f.equation for f in failures(run)] == ["schema", "checksum"]
    with pytest.raises(RequestError, match="no run record; `mixproof train` writes one"):
        audit_run(tmp_path / "nothing")
    shutil.copy(run / "run.json", tmp_path / "run.json")
    with pytest.raises(RequestError, match="not in the folder train/<key>/ of a store"):
        audit_run(tmp_path / "run.json")
    run.rename(run.with_name("another"))
    (run.with_name("another") / "run.json").write_text(text)
    expected = " ".join(failure.expected for failure in failures(run.with_name("another")))
    assert "as key, from the folder's name" in expected and "as the folder of the output" in expected


def test_ids_of_a_draw_that_are_not_those_of_its_dataset_are_caught_under_a_checksum_of_their_own(run: Path) -> None:
    root, record = run.parents[1], RunRecord.model_validate_json((run / "run.json").read_bytes())
    manifest = read_manifest(root / "builds" / record.build / "manifest.json")
    path = root / "draw" / record.draws["a"].key / "a.bin"
    ids = np.fromfile(path, np.uint16)
    ids[0] ^= 1
    ids.tofile(path)
    draw = record.draws["a"].model_copy(update={"bin_sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    checks = Checks()
    check_draw(root, "a", draw, manifest, checks)
    assert ("E6", str(path)) in {(failure.equation, failure.file) for failure in checks.failures}
