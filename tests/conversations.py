"""A small corpus of conversations, pairs and rated answers, and a spec over it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SPEC = """\
schema: 1
name: conversations
sources:
  chat: {files: chat.jsonl, format: chat}
  pairs: {files: pairs.parquet, format: preferences, template: chatml}
  rated: {files: rated.jsonl, format: ratings, supervise: last_answer}
on_bad_record: {reject: 20%}
dedup: {exact: true}
heldout: {create: {tokens: 60, min_documents: 2}}
tokenizer: {sentencepiece: tok.model}
mixtures:
  even: {parts: {chat: 1, pairs: 1, rated: 1}}
train:
  proxies:
    nano: {tokens: 64K, global_batch_size: 4, lr: 1e-3}
"""
QUESTIONS = [f"What is {number} times {number + 1}, and which of the two is the smaller one?" for number in range(12)]


def answer(number: int) -> str:
    """The right answer to a question."""
    return f"{number} times {number + 1} is {number * (number + 1)}, and {number} is the smaller one."


def write_conversations(place: Path, model: Path) -> None:
    """Twelve questions with an answer each; eight with a second, wrong answer; twelve ratings of six questions."""
    place.mkdir()
    chat: list[dict[str, Any]] = [
        {"id": f"c{number}", "prompt": question, "response": answer(number)}
        for number, question in enumerate(QUESTIONS)
    ]
    chat.insert(3, {"id": "open", "messages": [{"role": "user", "content": "And?"}]})
    (place / "chat.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in chat))
    pairs = [
        {
            "id": f"p{number}",
            "prompt": [{"role": "user", "content": f"{question} Show it."}],
            "chosen": [{"role": "assistant", "content": answer(number)}],
            "rejected": [{"role": "assistant", "content": "I do not know, and nobody does."}],
            "margin": float(number) if number else None,
        }
        for number, question in enumerate(QUESTIONS[:8])
    ]
    pq.write_table(pa.Table.from_pylist(pairs), place / "pairs.parquet")
    rated: list[dict[str, Any]] = [
        {
            "prompt": f"{question} Why?",
            "response": f"{answer(number)} {why}",
            "attributes": {"good": good, "long": None},
        }
        for number, question in enumerate(QUESTIONS[:6])
        for why, good in (("Because of its size.", 1), ("Who could tell that?", 0.5))
    ]
    rated[0]["attributes"] |= {"long": 3}
    rated[1]["attributes"] |= {"long": None}
    (place / "rated.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in rated))
    shutil.copy(model, place / "tok.model")
    (place / "spec.yaml").write_text(SPEC)
