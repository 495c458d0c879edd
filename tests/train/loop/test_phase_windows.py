"""Phases with their own sequence length, rotary base and long documents: trained, killed, audited, traced."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mixproof.ledger.store import Store
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.load import load_spec
from mixproof.train.audit.run import audit_run
from mixproof.train.data.saved_index import INDEX_FOLDER, read_index_record
from mixproof.train.data.trace import trace_document, trace_step
from mixproof.train.launch.plan import plan_requests
from mixproof.train.loop.metrics import read_metrics
from mixproof.train.loop.run import train_run
from mixproof.train.record import run_folder
from mixproof.train.request import RunRequest
from train_processes import kill_at

SPEC = """\
schema: 1
name: phases
sources: {{manual: {{files: "*.jsonl"}}, guide: {{files: "*.jsonl"}}}}
tokenizer: {{sentencepiece: tok.model}}
mixtures:
  long:
    phases:
      - {{until: 50%, shares: {{manual: 50%, guide: 50%}}}}
      - {{until: 75%, shares: {{manual: 50%, guide: 50%}}, sequence_length: 128, rope_base: 500000,
         min_tokens: {{guide: {least}}}}}
      - {{until: 100%, shares: {{manual: 100%}}}}
  short:
    phases: [{{until: 50%, shares: {{manual: 50%, guide: 50%}}}}, {{until: 100%, shares: {{manual: 100%}}}}]
train:
  sequence_length: 32
  windows: {{pack: {pack}}}
  schedule: {{wsd: {{warmup: 10%, decay: 25%}}}}
  proxies:
    tiny:
      {{tokens: 1024, global_batch_size: {batch}, lr: 0.003, min_lr: 0.0003,
       architecture: {{layers: 1, hidden: 16, ffn: 16, heads: 2, kv_heads: 1, head_dim: 8}}}}
"""


class OneProcess:
    """Makes draws in this process, in place of a cluster."""

    def run(self, function: Any, calls: list[Any], **_: Any) -> list[Any]:  # noqa: ANN401
        """Call in order."""
        return [function(*call) for call in calls]

    def count(self, **_: int) -> None:
        """Count nothing."""


@pytest.fixture
def plan(tmp_path: Path, make_encoded: Callable[..., Any]) -> Callable[..., list[RunRequest]]:
    """The runs of the spec above, in a store at a place."""

    def make(pack: str, place: str = "store", *, least: int = 100, batch: int = 4) -> list[RunRequest]:
        path = tmp_path / "phases.yaml"
        path.write_text(SPEC.format(pack=pack, least=least, batch=batch))
        corpus = make_encoded(place)
        one: Any = OneProcess()
        return plan_requests(load_spec(path).spec, corpus.manifest, corpus.store, one)

    return make


@pytest.mark.parametrize("pack", ["concatenate", "best_fit"])
def test_a_run_with_a_long_phase_killed_anywhere_ends_as_an_uninterrupted_one(
    plan: Callable[..., list[RunRequest]], pack: str
) -> None:
    long, short = plan(pack)
    budget = long.budget
    assert [phase.samples for phase in budget.phases] == [16, 8, 8]
    assert budget.phases[1].samples_of == {"guide": 1, "manual": 1}  # two windows of 128 in place of eight of 32
    assert sorted(long.draws) == ["guide", "guide@128>=100", "manual", "manual@128"]
    record = train_run(long)
    folder = run_folder(Store(long.store), long.key)
    steps = read_metrics(folder)
    assert [step.tokens for step in steps] == [128 * step for step in range(1, 9)]
    assert [step.samples for step in steps] == [4 * step for step in range(1, 9)]
    for place, at in (("edge", 4), ("inside", 5)):
        elsewhere = plan(pack, place)[0].model_copy(update={"budget": replace(budget, checkpoint_steps=at)})
        kill_at(elsewhere, at + 1)
        ended = train_run(elsewhere)
        assert (ended.delivered, ended.heldout, ended.index) == (record.delivered, record.heldout, record.index)
        assert read_metrics(run_folder(Store(elsewhere.store), elsewhere.key)) == steps
    report = audit_run(folder)
    assert report.ok, report.failures
    # a branch that has no long phase shares the trunk, and every draw that both read
    train_run(short)
    branched = json.loads((run_folder(Store(short.store), short.key) / "circumstances.json").read_bytes())
    assert branched["branched_from"] == long.key
    assert short.draws["manual"] == long.draws["manual"]


@pytest.mark.parametrize("pack", ["concatenate", "best_fit"])
def test_the_account_closes_and_no_document_is_read_at_two_lengths(
    plan: Callable[..., list[RunRequest]], pack: str
) -> None:
    long = plan(pack)[0]
    record = train_run(long)
    folder = run_folder(Store(long.store), long.key)
    hashes = {name: provenance_hashes(long, name) for name in long.draws}
    assert not hashes["manual"] & hashes["manual@128"]
    accounts = record.phase_accounts
    assert accounts is not None
    guide = accounts[1]["guide"]
    lengths = document_lengths(long, "guide@128>=100")
    assert min(lengths) >= 100
    assert (guide.drawn_documents, guide.drawn_tokens) == (len(lengths), sum(lengths))
    assert guide.planned == guide.delivered == 128
    assert guide.also_drawn_documents == len(hashes["guide"] & hashes["guide@128>=100"])
    delivered: Counter[str] = Counter()
    for phase in accounts:
        delivered.update({source: account.delivered for source, account in phase.items()})
    assert delivered == {source: one.tokens for source, one in record.delivered.items()}
    assert {source: one.planned for source, one in record.delivered.items()} == delivered
    index = read_index_record(folder / INDEX_FOLDER)
    assert [len(index.batch_of(step, 4)) for step in range(1, 9)] == [4, 4, 4, 4, 1, 1, 4, 4]
    assert [index.step_of(sample, 4) for sample in (0, 15, 16, 17, 18, 25)] == [1, 4, 5, 6, 7, 8]
    traced = trace_step(folder, 5)
    (sample,) = traced.samples
    read = sum(piece.tokens for piece in sample.pieces)
    assert read == 129 if pack == "concatenate" else read <= 128
    seen = trace_document(folder, sample.pieces[0].document.text_xxh128)
    assert any(sighting.step == 5 for document in seen.documents for sighting in document.sightings)


def provenance_hashes(request: RunRequest, stream: str) -> set[str]:

    table = pq.read_table(Store(request.store).path(request.draws[stream].provenance))
    return set(table["text_xxh128"].to_pylist())


def document_lengths(request: RunRequest, stream: str) -> list[int]:

    table = pq.read_table(Store(request.store).path(request.draws[stream].provenance))
    found: list[int] = table["tokens"].to_pylist()
    return found


def test_too_few_long_documents_are_an_error_before_any_work(plan: Callable[..., list[RunRequest]]) -> None:
    with pytest.raises(SpecError, match=r"min_tokens: the build has 0 training documents of guide with at least"):
        plan("concatenate", least=10**6)


def test_a_length_that_does_not_divide_a_step_is_an_error(plan: Callable[..., list[RunRequest]]) -> None:
    with pytest.raises(SpecError, match=r"sequence_length: .* set its global_batch_size to a multiple of 4"):
        plan("concatenate", batch=3)
