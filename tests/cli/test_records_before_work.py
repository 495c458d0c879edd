"""Records that a spec cannot use as it declares are refused before any work: their first ones show it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixproof.cli.before_work import open_for_work
from mixproof.ledger.errors import RequestError

SPEC = """\
schema: 1
name: records
sources:
  data: {FILES}
tokenizer: {train: {vocab_size: 300, bytes: 1MB}}
heldout: {create: {tokens: 200, min_documents: 2}}
mixtures: {all: {data: 100%}}
train: {TRAIN proxies: {nano: {tokens: 16K, global_batch_size: 8, lr: 0.001}}}
"""
CHAT = {"messages": [{"role": "user", "content": "How much?"}, {"role": "assistant", "content": "Quite a lot."}]}
PAIR = {"prompt": "How much is two and two?", "chosen": "Four, as always.", "rejected": "Five, I think."}
RATED = {"prompt": "How much is two and two?", "response": "Four, as always.", "attributes": {"right": 4}}
TEXT = {"text": "A text with some words in it. " * 9, "score": 0.5, "topic": "law", "meta": {"x": 1}, "rare": None}
REFUSED = [
    (
        "files: text.jsonl, format: chat",
        r":4: sources.data: .*text.jsonl: .* as `format: chat`: the first is rejected as no_conversation. "
        r"It has text, score, .*; needed are `messages` \(or `conversations`\), or `prompt`",
    ),
    (
        "files: pairs.parquet, format: chat",
        r"rejected as missing_response. .* set `format: preferences`, which they fit",
    ),
    (
        "files: rated.jsonl, format: preferences",
        r"rejected as missing_chosen. .* set `format: ratings`, which they fit",
    ),
    ("files: chat.jsonl, format: chat, split_by: kind", r"sources.data.split_by: none of the first .* a field 'kind'"),
    (
        "files: chat.jsonl, format: chat, steps: [length, {ftfy: {}}]",
        r":4: sources.data.steps\[1\]: ftfy changes texts",
    ),
    ("files: text.jsonl, split_by: {score: nolabel, quantiles: 4}", r"data.split_by: none .* a field 'nolabel'; they"),
    ("files: text.jsonl, split_by: [nocolumn]", r"sources.data.split_by\[0\]: none of the first records .* 'nocolumn'"),
    ("files: text.jsonl, split_by: {score: topic, quantiles: 4}", r"the field 'topic' holds text, not numbers"),
    ("files: text.jsonl, split_by: score", r"the field 'score' holds a number, .*write {score: score, quantiles: 4}"),
    ("files: text.jsonl, split_by: meta", r"the field 'meta' holds an object, not text or whole numbers"),
    ("files: text.jsonl, labels: {q: {field: meta..x}}", r"sources.data.labels.q.*: none .* has a field 'meta..x'"),
    ("files: text.jsonl, labels: {q: {fasttext: pairs.parquet}}", r"labels.q: .*not a fastText model, but a Parquet"),
    (
        "files: text.jsonl, steps: [{score: {field: topic, min: 1}}]",
        r"score.field: the field 'topic' holds text, not num",
    ),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty records of each form."""
    records: dict[str, dict[str, Any]] = {"chat": CHAT, "pairs": PAIR, "rated": RATED, "text": TEXT}
    for name, record in records.items():
        (tmp_path / f"{name}.jsonl").write_text(40 * f"{json.dumps(record)}\n")
    pq.write_table(pa.Table.from_pylist(40 * [PAIR]), tmp_path / "pairs.parquet")
    return tmp_path


def _open(folder: Path, files: str, train: str = "") -> None:
    path = folder / "spec.yaml"
    path.write_text(SPEC.replace("FILES", files).replace("TRAIN", train))
    open_for_work(path, str(folder / "store"), "plan")


@pytest.mark.parametrize(("files", "said"), REFUSED)
def test_records_that_cannot_be_what_the_spec_says_are_refused(files: str, said: str, folder: Path) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        _open(folder, files)
    assert "spec.yaml:4: sources.data" in str(caught.value)


def test_records_that_fit_are_opened(folder: Path) -> None:
    for files in ("files: chat.jsonl, format: chat", "files: pairs.parquet, format: preferences"):
        _open(folder, files)
    tie = {"prompt": "How much?", "response1": "Four.", "response2": "4", "overall_preference": 0}
    (folder / "ties.jsonl").write_text(40 * f"{json.dumps(tie)}\n" + 40 * f"{json.dumps(PAIR)}\n")
    _open(folder, "files: ties.jsonl, format: preferences")
    _open(folder, "files: rated.jsonl, format: ratings", "stage: reward,")
    _open(folder, "files: text.jsonl, labels: {r: {field: rare}}, split_by: {score: meta.x, edges: [3]}")


def test_a_field_that_only_later_records_have_is_found(folder: Path) -> None:
    with (folder / "text.jsonl").open("a") as file:
        file.write(json.dumps({**TEXT, "late": "yes"}) + "\n")
    _open(folder, "files: text.jsonl, split_by: [late]")


def test_rpo_needs_ratings_and_an_initial_path_must_be_a_checkpoint(folder: Path) -> None:
    start = folder / "start"
    start.mkdir()
    with pytest.raises(
        RequestError, match=r"spec.yaml:8: train.init_from: .*start: not a checkpoint: it has no run.json"
    ):
        _open(folder, "files: pairs.jsonl, format: preferences", "stage: rpo, init_from: start,")
    with pytest.raises(RequestError, match=r"text.jsonl: not a file that torch.save writes"):
        _open(folder, "files: pairs.jsonl, format: preferences", "stage: dpo, init_from: text.jsonl,")
    (start / "model_optim_rng.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(
        RequestError, match="stage rpo needs the ratings of both answers, and none of the first pairs has"
    ):
        _open(folder, "files: pairs.jsonl, format: preferences", "stage: rpo, init_from: start,")
    _open(folder, "files: pairs.jsonl, format: preferences", "stage: dpo, init_from: start,")


def test_errors_of_tokenizers_name_the_line(folder: Path) -> None:
    path = folder / "spec.yaml"
    (folder / "ranks.txt").write_text("hello world\n")
    given = '{tiktoken: ranks.txt, pattern: qwen2, special_tokens: {"<e>": 300}, eod: "<e>"}'
    text = SPEC.replace("{train: {vocab_size: 300, bytes: 1MB}}", given).replace("FILES", "files: text.jsonl")
    path.write_text(text.replace("TRAIN", ""))
    with pytest.raises(RequestError, match=r"spec.yaml:5: tokenizer.tiktoken: .*ranks.txt line 1: not a base64 token"):
        open_for_work(path, str(folder / "store"), "plan")
