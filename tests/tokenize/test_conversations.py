"""Conversations, pairs and rated answers from raw records to masks: counts by hand, audited and replayed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from conversations import QUESTIONS, SPEC, answer, write_conversations
from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.load import load_spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import find_files
from mixproof.tokenize.audit import audit_build, replay_build
from mixproof.tokenize.build import BuildResult, build
from mixproof.tokenize.tokenizer.reference import load_reference


@pytest.fixture
def folder(tmp_path: Path, model: Path) -> Path:
    """The small corpus of conversations."""
    place = tmp_path / "corpus"
    write_conversations(place, model)
    return place


@pytest.fixture
def run(folder: Path, store: Store, inline: Cluster) -> Callable[..., BuildResult]:
    """Build a spec over the folder."""

    def run(spec: str = SPEC) -> BuildResult:
        (folder / "spec.yaml").write_text(spec)
        return build(load_spec(folder / "spec.yaml"), store, inline)

    return run


def _rows(result: BuildResult, store: Store, name: str, side: str) -> list[dict[str, Any]]:
    """The documents of a side: provenance, with the texts of their supervised tokens and of the others."""
    record = result.manifest.sources[name]
    split = record.train if side == "train" else record.heldout
    decode = load_reference(str(store.path(result.manifest.tokenizer.path))).decode
    found = []
    for part in split.datasets:
        ids = np.fromfile(store.path(f"{part.prefix}.bin"), np.uint16)
        mask = np.fromfile(store.path(f"{part.prefix}.mask"), np.uint8)
        start = 0
        for row in pq.read_table(store.path(part.provenance)).to_pylist():
            own, marks = (array[start : start + row["tokens"]] for array in (ids, mask))
            start += row["tokens"]
            texts = [decode([own[marks == value].tolist()])[0] for value in (0, 1)]
            found.append({**row, "context": texts[0], "supervised": texts[1], "mask": marks.tolist()})
        assert start == len(ids) == len(mask)
    return found


def test_a_pair_is_two_documents_side_by_side_and_only_its_answers_are_supervised(
    run: Callable[..., BuildResult], store: Store
) -> None:
    result = run()
    record = result.manifest.sources["pairs"]
    rows = [row for side in ("train", "heldout") for row in _rows(result, store, "pairs", side)]
    assert record.kind == "preferences" and record.ledger[-1].documents_out == 8
    assert record.train.documents + record.heldout.documents == len(rows) == 16
    assert [row["answer"] for row in rows] == ["chosen", "rejected"] * 8
    for chosen, rejected in zip(rows[::2], rows[1::2], strict=True):
        number = int(chosen["id"][1:])
        assert chosen["id"] == rejected["id"] and chosen["prompt_xxh128"] == rejected["prompt_xxh128"]
        assert chosen["margin"] == rejected["margin"] == (float(number) if number else None)
        assert chosen["supervised"] == f"{answer(number)}<|im_end|>\n"
        assert rejected["supervised"] == "I do not know, and nobody does.<|im_end|>\n"
        assert chosen["context"] == rejected["context"]
        assert chosen["context"] == (
            f"<|im_start|>user\n{QUESTIONS[number]} Show it.<|im_end|>\n<|im_start|>assistant\n"
        )
        assert chosen["mask"][-1] == rejected["mask"][-1] == 1


def test_the_account_of_conversations_closes_and_a_question_without_answer_is_counted(
    run: Callable[..., BuildResult], store: Store
) -> None:
    record = run().manifest.sources["chat"]
    assert {name: count.documents for name, count in record.ledger[0].dropped.items()} == {"no_answer": 1}
    rows = [row for side in ("train", "heldout") for row in _rows(run(), store, "chat", side)]
    assert sorted(row["supervised"] for row in rows) == sorted(f" {answer(number)}" for number in range(12))
    counted = sum(row["supervised_tokens"] for row in rows)
    assert (record.train.supervised_tokens or 0) + (record.heldout.supervised_tokens or 0) == counted
    assert all(row["supervised_tokens"] == sum(row["mask"]) for row in rows)


def test_answers_are_held_out_by_prompt_and_keep_their_attributes(
    run: Callable[..., BuildResult], store: Store
) -> None:
    result = run()
    assert result.manifest.sources["rated"].attributes == ("good", "long")
    train, heldout = (_rows(result, store, "rated", side) for side in ("train", "heldout"))
    sides = [{row["prompt_xxh128"] for row in rows} for rows in (train, heldout)]
    assert len(train) + len(heldout) == 12 and len(heldout) % 2 == 0
    assert sides[0] & sides[1] == set() and len(sides[0] | sides[1]) == 6
    by_record = {row["record"]: row for row in (*train, *heldout)}
    assert (by_record[0]["attribute.good"], by_record[0]["attribute.long"]) == (1.0, 3.0)
    assert (by_record[1]["attribute.good"], by_record[1]["attribute.long"]) == (0.5, None)


def test_parts_and_shards_of_any_size_give_the_same_documents(
    run: Callable[..., BuildResult], folder: Path, inline: Cluster, store: Store
) -> None:
    whole = run()
    parts = build(load_spec(folder / "spec.yaml"), store, inline, shard_bytes=300, part_bytes=400)
    for name in ("chat", "pairs", "rated"):
        assert len(parts.manifest.sources[name].train.datasets) > 1
        expected, found = (_rows(result, store, name, "train") for result in (whole, parts))
        assert [{**row, "document": 0} for row in found] == [{**row, "document": 0} for row in expected]
        assert all(part.documents % 2 == 0 for part in parts.manifest.sources["pairs"].train.datasets)


def test_a_build_of_conversations_passes_its_audit_and_its_replay(
    run: Callable[..., BuildResult], store: Store, inline: Cluster
) -> None:
    result = run(SPEC.replace("tok.model}", "tok.model, bos: true}"))
    report = audit_build(result.manifest_path, "bytes")
    assert report.failures == () and report.reencoded is not None and report.reencoded.heldout > 0
    spec = result.loaded.spec
    replayed = replay_build(spec, find_files(spec, result.loaded.base), store, result.manifest_path, inline)
    assert replayed.failures == ()


def test_a_changed_mask_is_found_by_its_checksum_and_by_its_sum(run: Callable[..., BuildResult], store: Store) -> None:
    result = run()
    part = result.manifest.sources["pairs"].train.datasets[0]
    path = store.path(f"{part.prefix}.mask")
    mask = np.fromfile(path, np.uint8)
    mask[0] = 1
    path.chmod(0o644)
    mask.tofile(path)
    failures = audit_build(result.manifest_path, "bytes").failures
    assert [(failure.equation, Path(str(failure.file)).name) for failure in failures] == [("checksum", path.name)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "format: chat}",
            "format: chat, steps: [{pii: {}}]}",
            r"spec.yaml:4: sources.chat.steps\[0\]: pii changes texts",
        ),
        ("template: chatml", 'template: {jinja: "{{ messages[0].content }}"}', "the template marks no answer"),
        ("format: chat}", "format: chat, template: {jinja: '{% for m in messages %}'}}", "line 1 of the template"),
    ],
)
def test_what_cannot_work_on_conversations_is_refused(
    run: Callable[..., BuildResult], folder: Path, old: str, new: str, message: str
) -> None:
    chat = [{"prompt": "Write to a.b@example.com, please.", "response": "No."}] * 3
    (folder / "chat.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in chat))
    with pytest.raises(RequestError, match=message):
        run(SPEC.replace(old, new))


def test_deduplication_on_prompts_keeps_the_first_answer_of_each(run: Callable[..., BuildResult], store: Store) -> None:
    result = run(SPEC.replace("{exact: true}", "{exact: true, on: prompts}"))
    rows = [row for side in ("train", "heldout") for row in _rows(result, store, "rated", side)]
    assert sorted(row["record"] for row in rows) == [0, 2, 4, 6, 8, 10]
    lost = {name: record.ledger[1].dropped for name, record in result.manifest.sources.items()}
    assert {name: sum(count.documents for count in dropped.values()) for name, dropped in lost.items()} == {
        "chat": 0,
        "pairs": 0,
        "rated": 6,
    }


def test_fuzzy_deduplication_on_prompts_keeps_the_first_of_similar_prompts(
    run: Callable[..., BuildResult], folder: Path, store: Store, inline: Cluster
) -> None:
    """41 words have 37 5-grams; one word changed at the end changes one of them: J = 36 / 38."""
    words = " ".join(f"word{number}" for number in range(40))
    other = " ".join(f"other{number}" for number in range(40))
    system = "Answer as an expert of the matter in a few short sentences. " * 20
    prompts = [f"{words} one", f"{other} one", f"{words} two", f"{other}, ONE!"]
    chat = [{"prompt": prompt, "response": f"answer {number}"} for number, prompt in enumerate(prompts)]
    chat += [
        {"system": system, "prompt": text, "response": "yes"} for text in (f"{words} three", f"{other} six", words)
    ]
    (folder / "chat.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in chat))
    ratings = [{"prompt": f"{other} {n}", "response": f"rated {n}", "attributes": {"good": n}} for n in range(2)]
    ratings += [{"prompt": question, "response": "no", "attributes": {"good": 0}} for question in QUESTIONS[:3]]
    (folder / "rated.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in ratings))
    dedup = "{exact: true, on: prompts, fuzzy: {threshold: 70%}, keep: [rated]}\ndecontaminate: false"
    result = run(SPEC.replace("{exact: true}", dedup).replace("documents: 2", "documents: 1"))
    lists = json.loads(result.manifest_path.with_name("circumstances.json").read_bytes())["lists"]
    removed = {
        name: [
            (row["record"], row["reason"], row["kept_source"], row["kept_record"])
            for entry in lists[name].get("removed", ())
            for row in pq.read_table(store.path(entry["path"])).to_pylist()
            if row["stage"] == "dedup"
        ]
        for name in lists
    }
    # A pair's question is a rated one with two more words: J = 10 / 12.
    assert removed["pairs"] == [(number, "fuzzy_duplicate", "rated", number + 2) for number in range(3)]
    assert removed["rated"] == [(1, "fuzzy_duplicate", "rated", 0)]
    assert removed["chat"] == [
        (1, "fuzzy_duplicate", "rated", 0),
        (2, "fuzzy_duplicate", "chat", 0),
        (3, "fuzzy_duplicate", "rated", 0),
        (6, "fuzzy_duplicate", "chat", 4),
    ]
    assert audit_build(result.manifest_path, "bytes").failures == ()
    spec = result.loaded.spec
    replayed = replay_build(spec, find_files(spec, result.loaded.base), store, result.manifest_path, inline)
    assert replayed.failures == ()
