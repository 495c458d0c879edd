"""A blend whose answers belong to their questions beats one with shuffled answers, on several seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mixproof.ledger.store import Store
from mixproof.mixtures.load import load_spec
from mixproof.train.compare.compare import compare
from mixproof.train.data.draw import DrawSize, make_draw
from mixproof.train.launch.plan import plan_requests
from mixproof.train.loop.run import train_run
from mixproof.train.record import run_folder

SPEC = """\
schema: 1
name: ranking
sources: {right: {files: "*.jsonl", format: chat}, shuffled: {files: "*.jsonl", format: chat}}
tokenizer: {sentencepiece: tok.model}
mixtures: {own: {right: 100%}, mixed: {right: 50%, shuffled: 50%}}
train:
  stage: sft
  sequence_length: 64
  schedule: {wsd: {warmup: 10%, decay: 20%}}
  seeds: [1, 2, 3]
  proxies:
    tiny: {tokens: 8K, global_batch_size: 4, lr: 0.01,
      architecture: {layers: 1, hidden: 32, ffn: 64, heads: 4, kv_heads: 2, head_dim: 8}}
"""


def test_shuffled_answers_lose(make_answers: Callable[..., Any], tmp_path: Path) -> None:
    corpus = make_answers(tmp_path / "store")
    for name, source in corpus.manifest.sources.items():
        make_draw(corpus.store, corpus.manifest, DrawSize(name, source.train.tokens))
    path = tmp_path / "ranking.yaml"
    path.write_text(SPEC)
    requests = plan_requests(load_spec(path).spec, corpus.manifest, corpus.store, None)
    records = [train_run(request) for request in requests]
    folders = {
        record.key: run_folder(Store(request.store), record.key)
        for request, record in zip(requests, records, strict=True)
    }
    found = compare(records, None, folders=folders)
    ranking = found.groups[0].rankings["tiny"]
    assert ranking.winner == "own", found.verdict
    assert ranking.rows[0].interval is not None and ranking.rows[0].interval.documents is not None
