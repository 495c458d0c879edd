"""A family of runs on Ray: budgets, shared draws, reuse, and a run that fails among others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.load import load_spec
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster import Cluster
from mixproof.train.family import find_outcomes, train_all
from mixproof.train.plan import plan_requests

SPEC = """\
schema: 1
name: family
sources: {manual: {files: "*.jsonl"}, guide: {files: "*.jsonl"}}
tokenizer: {sentencepiece: tok.model}
mixtures:
  even: {manual: 50%, guide: 50%}
  manual_only: {manual: 100%}
train:
  sequence_length: 32
  proxies:
    tiny:
      {tokens: 512, global_batch_size: 4, lr: 0.003, min_lr: 0.0003,
       architecture: {layers: 1, hidden: 16, ffn: 16, heads: 2, kv_heads: 1, head_dim: 8}}
    wild:
      {tokens: 512, global_batch_size: 4, lr: 1.0e+30, min_lr: 0.0003,
       architecture: {layers: 1, hidden: 16, ffn: 16, heads: 2, kv_heads: 1, head_dim: 8}}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    path = tmp_path / "family.yaml"
    path.write_text(SPEC)
    return load_spec(path).spec


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(workers=2) as cluster:
        yield cluster


def test_runs_cannot_be_looked_up_before_their_draws_are_made(spec: Spec, encoded_corpus: Any) -> None:  # noqa: ANN401
    with pytest.raises(RequestError, match="no run has been trained yet: guide, manual not drawn"):
        plan_requests(spec, encoded_corpus.manifest, encoded_corpus.store, None)


@pytest.mark.slow
def test_a_failing_run_does_not_stop_the_others(spec: Spec, encoded_corpus: Any, cluster: Cluster) -> None:  # noqa: ANN401
    store, manifest = encoded_corpus.store, encoded_corpus.manifest
    outcomes = train_all(spec, manifest, store, cluster, device="cpu")
    assert [(run.mixture, run.proxy, run.seed, run.done) for run in outcomes] == [
        ("even", "tiny", 1, True),
        ("even", "wild", 1, False),
        ("manual_only", "tiny", 1, True),
        ("manual_only", "wild", 1, False),
    ]
    for run in outcomes:
        assert run.record is not None
        assert not run.reused
        if run.proxy == "wild":
            assert run.reason is not None
            assert run.reason.startswith("step ")
            assert run.record.status == "failed"
        else:
            assert (run.reason, run.record.consumed_tokens, run.record.spec_name) == (None, 512, "family")
    # 512 tokens of manual are needed at most, and 256 of guide, each with the token that the last window reads more
    draws = [run.record.draws for run in outcomes if run.record is not None]
    assert draws[0]["manual"] == draws[2]["manual"]
    assert draws[0]["manual"].tokens >= 513
    assert (set(draws[0]), set(draws[2])) == ({"manual", "guide"}, {"manual"})
    again = train_all(spec, manifest, store, cluster, device="cpu")
    assert [(run.done, run.reused) for run in again] == [(True, True), (False, False), (True, True), (False, False)]
    assert [run.record for run in again] == [run.record for run in outcomes]
    looked_up = find_outcomes(plan_requests(spec, manifest, store, None))
    assert [run.record for run in looked_up] == [run.record for run in outcomes]
