"""What a changed spec or a new file makes again: the tasks are counted, by the stage that they belong to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from in_process import InProcess
from mixproof.ledger.store import Store
from mixproof.mixtures.load import load_spec
from mixproof.tokenize.build import build

SPEC = """\
schema: 1
name: small
sources:
  manual: {files: "manual-*.jsonl", steps: [{length: {min_chars: 1}}]}
  guide: {files: "guide-*.jsonl"}
dedup: {exact: true, scope: all, keep: [guide]}
heldout: {create: {min_documents: 1, tokens: 10}}
decontaminate: false
tokenizer: {sentencepiece: tok.model}
target: {tokens: 1M, max_epochs: {default: 1000}}
mixtures: {even: {parts: {manual: 1, guide: 1}}}
train: {seeds: [1], proxies: {nano: {tokens: 64K, global_batch_size: 4, lr: 1e-3, min_lr: 1e-4}}}
"""
Rebuild = Callable[..., tuple[dict[str, int], str]]


@pytest.fixture
def rebuild(tmp_path: Path, topics: list[str], model: Path) -> Rebuild:
    """Two sources of three files each, built once; then again with a text of the spec replaced: tasks, and the id."""
    shutil.copy(model, tmp_path / "tok.model")
    short = "A text of sixty characters is not a long one, as texts go...."
    for number in range(3):
        for source, first in (("manual", 0), ("guide", 24)):
            texts = topics[first + 8 * number : first + 8 * number + 8]
            if (source, number) == ("manual", 2):
                texts = [*texts, short]
            lines = [json.dumps({"text": text}) for text in texts]
            (tmp_path / f"{source}-{number}.jsonl").write_text("\n".join(lines))

    def once(*replace: tuple[str, str]) -> tuple[dict[str, int], str]:
        text = SPEC
        for before, after in replace:
            assert before in text
            text = text.replace(before, after)
        (tmp_path / "spec.yaml").write_text(text)
        cluster = InProcess()
        with cluster:
            made = build(load_spec(tmp_path / "spec.yaml"), Store(tmp_path / "store"), cluster)
        return {label: tasks for label, tasks in cluster.tasks.items() if tasks}, made.manifest.build

    return once


def test_shares_budgets_seeds_and_proxies_make_nothing_again(rebuild: Rebuild) -> None:
    _, first = rebuild()
    changed = (
        ("{manual: 1, guide: 1}", "{manual: 7, guide: 1}"),
        ("seeds: [1]", "seeds: [4, 5]"),
        ("64K", "32K"),
        ("nano:", "62m:"),
        ("name: small", "name: other"),
    )
    assert rebuild(*changed) == ({}, first)


def test_a_sources_steps_make_that_source_again_and_of_its_tokens_the_shards_that_changed(rebuild: Rebuild) -> None:
    _, first = rebuild()
    tasks, second = rebuild(("min_chars: 1", "min_chars: 100"))
    assert second != first
    assert tasks.pop("read") == 1, "the three small files of manual share a task"
    # the last file of manual lost its short text; the other texts of manual are new files with the same content
    assert tasks.pop("encode") <= 2, "the shard that changed, and the held-out set where that text was in it"
    assert set(tasks) <= {"dedup", "manual: by hash", "held-out texts", "assemble", "removed documents"}


def test_a_new_file_is_read_and_encoded_and_nothing_else_is(rebuild: Rebuild, tmp_path: Path) -> None:
    rebuild()
    (tmp_path / "guide-3.jsonl").write_text(json.dumps({"text": "A new text that nobody has read before. " * 9}))
    tasks, _ = rebuild()
    assert tasks.pop("read") == 1, "the command itself hashes a small new file, which is no task"
    assert tasks.pop("encode") <= 2, "the new file, and the held-out set where it went into that"
    assert set(tasks) <= {"dedup", "guide: by hash", "held-out texts", "assemble"}
