"""A run with best-fit packing from its start to its audit: the account closes, and every change to it is caught."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixproof.ledger.store import Store
from mixproof.ledger.store.receipt import Receipt, StoredFile
from mixproof.train.audit.run import audit_run
from mixproof.train.data.trace import trace_document, trace_step
from mixproof.train.data.window_use import window_use
from mixproof.train.loop.run import train_run
from mixproof.train.record import MasksRecord, RunRecord, run_folder
from mixproof.train.request import RunRequest

MakeRequest = Callable[..., RunRequest]
PACKED = MasksRecord(document_mask=True, eod_mask_loss=False, reset_position_ids=True, best_fit=True)


def packed(request: RunRequest, **changes: Any) -> RunRequest:  # noqa: ANN401  fields of a request
    return request.model_copy(update={"masks": PACKED, **changes})


@pytest.fixture
def run(make_request: MakeRequest) -> Path:
    """The folder of a finished run of 12 steps of 4 windows of 32 tokens."""
    request = packed(make_request(steps=12))
    train_run(request)
    return run_folder(Store(request.store), request.key)


def record_of(run: Path) -> RunRecord:
    return RunRecord.model_validate_json((run / "run.json").read_bytes())


def test_a_packed_run_is_clean_and_its_account_closes(run: Path) -> None:
    report = audit_run(run)
    assert report.failures == ()
    record, use = record_of(run), window_use(run / "index", 48)
    targets = sum(source.targets or 0 for source in record.delivered.values())
    assert record.consumed_tokens == 48 * 32 == targets + use.padding_tokens
    assert use.fill == targets / record.consumed_tokens > 0.9
    assert use.cut_documents == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_bytes().splitlines()]
    trained: Counter[str] = Counter()
    for line in lines:
        trained.update(line["targets_of"])
    assert trained == {name: source.targets for name, source in record.delivered.items()}


def test_concatenated_windows_are_full_and_cut_documents(make_request: MakeRequest) -> None:
    request = make_request(steps=12)
    record = train_run(request)
    use = window_use(run_folder(Store(request.store), request.key) / "index", record.consumed_samples)
    assert (use.fill, use.padding_tokens) == (1.0, 0)
    assert use.cut_documents >= 0


def test_packing_is_part_of_the_key_and_a_run_without_it_keeps_its_own(make_request: MakeRequest) -> None:
    request = make_request()
    assert packed(request).key != request.key
    assert "best_fit" not in json.dumps(request.identity) and "best_fit" in json.dumps(packed(request).identity)


def test_a_longer_run_reads_what_a_shorter_one_read_and_goes_on(make_request: MakeRequest) -> None:
    """Windows of a source come in the same order, whatever the budget."""
    short, long = packed(make_request(steps=4)), packed(make_request(steps=12))
    folders = []
    for request in (short, long):
        train_run(request)
        folders.append(run_folder(Store(request.store), request.key) / "index")
    name = "stream-000-epoch-0000-documents.npy"
    assert np.array_equal(np.load(folders[0] / name), np.load(folders[1] / name))


def test_a_trace_names_each_piece_and_where_a_document_was_seen(run: Path) -> None:
    record = record_of(run)
    seen: Counter[tuple[str, str, int]] = Counter()
    for step in range(1, record.steps + 1):
        for sample in trace_step(run, step).samples:
            assert 0 < sum(piece.tokens for piece in sample.pieces) <= 32
            for piece in sample.pieces:
                seen[sample.source, piece.document.text_xxh128, piece.first_token] += piece.tokens
    assert sum(seen.values()) == sum(source.targets or 0 for source in record.delivered.values())
    _, text, first = next(iter(seen))
    (found,) = trace_document(run, text).documents
    assert found.targets == sum(tokens for (_, other, _), tokens in seen.items() if other == text)
    assert first in {sighting.first_token for sighting in found.sightings}


def replace_array(run: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change an array and every checksum of it, as one who wants it to go unnoticed would."""
    path, index = run / "index" / name, run / "index" / "index.json"
    old = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (path, index)]
    np.save(path, change(np.load(path)))
    new = hashlib.sha256(path.read_bytes()).hexdigest()
    index.write_text(index.read_text().replace(old[0], new))
    text = (run / "run.json").read_text().replace(old[0], new)
    text = text.replace(old[1], hashlib.sha256(index.read_bytes()).hexdigest())
    (run / "run.json").write_text(text)
    data = (run / "run.json").read_bytes()
    files = {"run.json": StoredFile(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))}
    (run / "receipt.json").write_bytes(Receipt(stage="train", key=run.name, files=files).to_bytes())


def swapped(array: Any) -> Any:  # noqa: ANN401  an array
    return array[[1, 0, *range(2, len(array))]]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("documents", lambda array: np.where(array == array[0], (array[0] + 1) % (array.max() + 1), array)),
        ("first_tokens", lambda array: array + (np.arange(len(array)) == 0)),
        ("tokens", lambda array: array - (np.arange(len(array)) == 0)),
        ("window_starts", lambda array: np.concatenate([array[:1], array[2:], array[-1:] + 1])),
        ("window_starts", lambda array: array[:-1]),
    ],
)
def test_a_changed_pack_with_matching_checksums_is_caught(
    run: Path, name: str, change: Callable[[Any], Any], tmp_path: Path
) -> None:
    replace_array(run, f"stream-000-epoch-0000-{name}.npy", change)
    assert {failure.equation for failure in audit_run(run).failures} & {"E7", "E9"}


def test_a_killed_packed_run_resumes_bit_for_bit(make_request: MakeRequest, tmp_path: Path) -> None:
    """A run that stops at a checkpoint and goes on has the record of one that was not stopped."""
    request = packed(make_request(steps=8, checkpoint_steps=4))
    record = train_run(request)
    folder = run_folder(Store(request.store), request.key)
    for name in ("run.json", "receipt.json", "scores.parquet"):
        (folder / name).unlink()
    for path in folder.glob("checkpoints/iter_*32"):
        shutil.rmtree(path)
    assert train_run(request) == record
