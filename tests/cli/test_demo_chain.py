"""`mixproof demo --stage sft`: conversations from docstrings, and the chain base > SFT > DPO > reward to its audit."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from conftest import Finished, environment
from mixproof.cli.demo.demo_conversations import gather_conversations
from mixproof.pipeline.cluster.cluster import Cluster

CHAIN = """
import sys
from pathlib import Path
from mixproof.cli.commands.demo_chain import train_chain
train_chain(Path(sys.argv[1]), sys.argv[1] + "/store", None, None, as_json=True)
"""
TINY = "architecture: {layers: 1, hidden: 16, ffn: 32, heads: 2, kv_heads: 1, head_dim: 8}"


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def test_conversations_pairs_and_ratings_share_some_questions(tmp_path: Path) -> None:
    counts = gather_conversations(tmp_path / "conversations")
    found = {name: records(tmp_path / "conversations" / f"{name}.jsonl.gz") for name in counts}
    assert {name: len(rows) for name, rows in found.items()} == counts
    assert min(counts.values()) > 100
    assert all(pair["chosen"] != pair["rejected"] for pair in found["pairs"])
    assert {rating["attributes"]["right"] for rating in found["ratings"]} == {0, 1}
    asked = {chat["messages"][0]["content"] for chat in found["chat"]}
    shared = {pair["prompt"] for pair in found["pairs"]} & asked
    assert 0 < len(shared) < len(found["pairs"])


@pytest.mark.slow
def test_the_chain_is_trained_and_audited(mixproof: Callable[..., Finished], cluster: Cluster, tmp_path: Path) -> None:
    """The demo as a user runs it, with smaller models and fewer tokens."""
    assert mixproof("demo", "--stage", "sft", "--prepare", "--directory", tmp_path).code == 0
    for path in tmp_path.glob("demo_*.yaml"):
        text = re.sub(r"tokens: \d+K(?=\n|, lr)", "tokens: 4K", path.read_text())
        text = re.sub(r"architecture: \{.*\}", TINY, text)
        path.write_text(text.replace("tokens: 3K, min_documents: 20", "tokens: 500, min_documents: 8"))
    joined = environment() | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    command = [sys.executable, "-c", CHAIN, str(tmp_path)]
    done = subprocess.run(command, env=joined, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["audit"]["ok"]
    runs = {stage: trained["runs"][0] for stage, trained in found["stages"].items()}
    assert list(runs) == ["base", "dpo", "reward", "sft"]  # JSON objects are sorted
    for stage, source in (("sft", "chat"), ("dpo", "pairs"), ("reward", "ratings")):
        part = runs[stage]["delivered"][source]
        assert part["planned"] == part["supervised_tokens"] > 0
        parts = (part["supervised_tokens"], part["context_tokens"], part["padding_tokens"])
        assert sum(parts) == part["tokens"]
    assert runs["dpo"]["heldout"]["pairs"]["kl"] >= 0 and "chat" in runs["dpo"]["heldout"]
    assert set(runs["reward"]["heldout"]["ratings"]["attributes"]) == {"finished", "right", "words"}
    record = json.loads((Path(runs["reward"]["run"]) / "run.json").read_bytes())
    assert [one["stage"] for one in record["post_training"]["ancestors"]] == ["pretrain", "sft", "dpo"]
