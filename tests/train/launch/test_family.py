"""A family of runs on Ray: budgets, shared draws, reuse, and a run that fails among others."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow.parquet as pq
import pytest
from ray.exceptions import NodeDiedError

from mixproof.ledger.errors import MixproofError, RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.load import load_spec
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.train.finished import finished_record
from mixproof.train.launch.dispatch import dispatch, reason_of
from mixproof.train.launch.family import train_all
from mixproof.train.launch.plan import plan_requests
from mixproof.train.launch.progress import FamilyProgress
from mixproof.train.loop.metrics import read_metrics
from mixproof.train.outcome import find_outcomes, outcome_of
from mixproof.train.record import run_folder
from mixproof.train.request import Resources, RunRequest

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
      {tokens: 512, global_batch_size: 4, lr: 1.0e+30, min_lr: 0.0003, cpus: 0.5, gpus: 0,
       architecture: {layers: 1, hidden: 16, ffn: 16, heads: 2, kv_heads: 1, head_dim: 8}}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    path = tmp_path / "family.yaml"
    path.write_text(SPEC)
    return load_spec(path).spec


def test_runs_cannot_be_looked_up_before_their_draws_are_made(spec: Spec, encoded_corpus: Any) -> None:  # noqa: ANN401
    with pytest.raises(RequestError, match="no run has been trained yet .no draw of guide, manual.; `mixproof train`"):
        plan_requests(spec, encoded_corpus.manifest, encoded_corpus.store, None)


@pytest.mark.slow
def test_a_failing_run_does_not_stop_the_others(spec: Spec, encoded_corpus: Any, cluster: Cluster) -> None:  # noqa: ANN401
    store, manifest = encoded_corpus.store, encoded_corpus.manifest
    looks: list[FamilyProgress] = []
    outcomes = train_all(spec, manifest, store, cluster, device="cpu", on_progress=looks.append)
    assert [run.state for run in looks[-1].runs] == ["done", "failed", "done", "failed"]
    assert [run.tokens for run in looks[-1].runs if run.state == "done"] == [512, 512]
    assert [run.reason for run in looks[-1].runs] == [run.reason for run in outcomes]
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
    rows = pq.read_table(store.path("runs.parquet")).to_pylist()
    assert {row["key"]: row["record_sha256"] for row in rows} == {
        run.key: run.record.sha256 for run in outcomes if run.record is not None
    }
    row = next(row for row in rows if row["key"] == outcomes[0].key)
    record = outcomes[0].record
    assert record is not None
    assert (row["mixture"], row["status"], row["consumed_tokens"], row["unique_tokens"]) == ("even", "done", 512, 512)
    assert (row["parameters"], row["flops"]) == (record.parameters.total, float(record.flops))
    assert {part["source"]: part["tokens"] for part in row["delivered"]} == {"guide": 256, "manual": 256}
    assert dict(row["recipe"]) == record.recipe
    assert {score["source"]: score["bits_per_byte"] for score in row["heldout"]} == {
        name: score.bits_per_byte for name, score in record.heldout.items()
    }
    looked_up = find_outcomes(plan_requests(spec, manifest, store, None))
    assert [run.record for run in looked_up] == [run.record for run in outcomes]


@pytest.mark.slow
def test_a_run_whose_rank_is_killed_ends_as_an_undisturbed_one(
    make_request: Callable[..., RunRequest], cluster: Cluster
) -> None:
    two = Resources(ranks=2)
    undisturbed = make_request(place="undisturbed", steps=20, checkpoint_steps=2, resources=two)
    disturbed = make_request(steps=20, checkpoint_steps=2, resources=two)
    folder = run_folder(Store(disturbed.store), disturbed.key)
    assert undisturbed.key == disturbed.key
    told: list[tuple[str, str | None]] = []
    killer = Thread(target=kill_the_first_rank, args=(folder,))
    dispatch([undisturbed], cluster, lambda request, reason: told.append((request.store, reason)))
    killer.start()
    dispatch([disturbed], cluster, lambda request, reason: told.append((request.store, reason)))
    killer.join()
    assert told == [(undisturbed.store, None), (disturbed.store, None)]
    records = [finished_record(Store(request.store), request) for request in (undisturbed, disturbed)]
    assert records[0] is not None and records[1] is not None
    assert records[0].to_bytes() == records[1].to_bytes()
    circumstances = json.loads((folder / "circumstances.json").read_bytes())
    assert circumstances["ranks"] == 2
    assert 8 <= circumstances["resumed_from_samples"] < 80
    assert not (folder / ".ray_train").exists()


def kill_the_first_rank(folder: Path) -> None:
    """Kill it once it has taken five steps."""
    end = time.monotonic() + 240
    while len(read_metrics(folder)) < 5:
        assert time.monotonic() < end
        time.sleep(0.002)
    os.kill(json.loads((folder / "attempt.json").read_bytes())["process"], signal.SIGKILL)


@pytest.mark.slow
def test_what_no_further_start_would_mend_ends_a_run_of_many_ranks(
    make_request: Callable[..., RunRequest], cluster: Cluster
) -> None:
    request = make_request(resources=Resources(ranks=2))
    damaged = Store(request.store).path(f"{request.draws['guide'].prefix}.bin")
    damaged.write_bytes(damaged.read_bytes()[:-2])
    (reason,) = dispatch([request], cluster, lambda request, reason: None)
    assert reason is not None
    assert "E6" in reason and "guide" in reason


def test_a_run_that_ray_lost_is_interrupted_and_a_run_that_raised_has_failed(
    make_request: Callable[..., RunRequest],
) -> None:
    def raised(cause: Exception | None) -> MixproofError:
        try:
            raise MixproofError("train: no node is left") from cause
        except MixproofError as error:
            return error

    request = make_request()
    died = NodeDiedError("the raylet died")  # type: ignore[no-untyped-call]
    lost = outcome_of(request, reason=reason_of(raised(died)))
    assert lost.interrupted and not lost.done
    assert lost.reason == "interrupted: train: no node is left"
    failed = outcome_of(request, reason=reason_of(raised(None)))
    assert not failed.interrupted and failed.reason == "train: no node is left"
