"""Supervised fine-tuning from its plan to its audit: shares of supervised tokens, the loss, resume, the account."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import cross_entropy

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.load import load_spec
from mixproof.train.audit.run import audit_run
from mixproof.train.data.delivered import spans_of
from mixproof.train.data.draw import DrawSize, make_draw
from mixproof.train.data.trace import trace_document, trace_step
from mixproof.train.data.window_use import window_use
from mixproof.train.export.to_huggingface import export_huggingface
from mixproof.train.launch.plan import plan_requests
from mixproof.train.loop.metrics import read_metrics
from mixproof.train.loop.run import train_run
from mixproof.train.record import RunRecord, read_run, run_folder
from mixproof.train.request import RunRequest
from train_processes import kill_at, train_on_ranks

PROXY = """tiny: {tokens: 1536, global_batch_size: 6, lr: 0.003,
      architecture: {layers: 2, hidden: 32, ffn: 64, heads: 4, kv_heads: 2, head_dim: 8}}"""
SPEC = """\
schema: 1
name: tune
sources:
  qa: {files: "*.jsonl", format: chat}
  talk: {files: "*.jsonl", format: chat}
  notes: {files: "*.jsonl"}
tokenizer: {sentencepiece: tok.model}
mixtures: {blend: {qa: 50%, talk: 30%, notes: 20%}}
train: {stage: STAGE, sequence_length: 64, proxies: {PROXY}OPTIONS}
"""
EOD = 2
Finished = tuple[RunRequest, RunRecord]


@pytest.fixture(scope="module")
def plan(make_chat: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunRequest]:
    """Plan the run of a spec on a build of conversations and plain texts."""
    folder = tmp_path_factory.mktemp("sft")

    def planned(stage: str = "sft", options: str = "", place: str = "store", **changes: str) -> RunRequest:
        text = SPEC.replace("STAGE", stage).replace("PROXY", PROXY).replace("OPTIONS", options)
        for old, new in changes.items():
            text = text.replace(old, new)
        path = folder / f"{stage}.yaml"
        path.write_text(text)
        corpus = make_chat(folder / place)
        for name, source in corpus.manifest.sources.items():
            for need in (256, 512, 1024, 2048, source.train.tokens):  # whole sources are those after pretraining
                make_draw(corpus.store, corpus.manifest, DrawSize(name, need))
        (request,) = plan_requests(load_spec(path).spec, corpus.manifest, corpus.store, None)
        return request

    return planned


@pytest.fixture(scope="module")
def finished(plan: Callable[..., RunRequest]) -> tuple[RunRequest, RunRecord]:
    """A finished run."""
    request = plan()
    return request, train_run(request)


def folder_of(request: RunRequest) -> Path:
    return run_folder(Store(request.store), request.key)


def masked_ids(request: RunRequest, source: str) -> tuple[list[list[int]], list[list[int]]]:
    """Ids and masks of the documents of a draw, read with numpy alone."""
    draw = request.draws[source]
    prefix = Store(request.store).folder(draw.prefix)
    lengths = pq.read_table(prefix.with_name(f"{source}.parquet"))["tokens"].to_numpy()
    ids = np.fromfile(prefix.with_name(f"{source}.bin"), np.uint16)
    mask = np.ones(len(ids), np.uint8)
    if draw.mask_sha256 is not None:
        mask = np.fromfile(prefix.with_name(f"{source}.mask"), np.uint8)
    bounds = np.cumsum(lengths)[:-1]
    return [part.tolist() for part in np.split(ids, bounds)], [part.tolist() for part in np.split(mask, bounds)]


def test_what_was_planned_is_delivered_and_the_audit_is_clean(finished: Finished) -> None:
    request, record = finished
    assert audit_run(folder_of(request)).failures == ()
    assert request.post_training is not None
    total = sum(source.supervised_tokens or 0 for source in record.delivered.values())
    for name, share in {"qa": 0.5, "talk": 0.3, "notes": 0.2}.items():
        found, planned = record.delivered[name], request.post_training.planned[name]
        assert (found.supervised_tokens, found.examples) == (planned.supervised_tokens, planned.examples)
        assert found.planned == found.supervised_tokens == found.targets
        assert found.declared == share
        assert abs((found.supervised_tokens or 0) - share * total) <= 64
        held = (found.supervised_tokens or 0) + (found.context_tokens or 0) + (found.padding_tokens or 0)
        assert held == found.tokens == found.samples * 64
    trained: Counter[str] = Counter()
    for line in (folder_of(request) / "metrics.jsonl").read_bytes().splitlines():
        trained.update(json.loads(line)["targets_of"])
    assert trained == {name: source.supervised_tokens for name, source in record.delivered.items()}


def test_counts_are_those_of_the_masks_of_the_documents_read(finished: Finished) -> None:
    request, record = finished
    counted: dict[str, list[int]] = {name: [0, 0, 0] for name in record.delivered}
    masks = {name: masked_ids(request, name)[1] for name in record.delivered}
    for sample in range(record.consumed_samples):
        source, _, spans = spans_of(folder_of(request) / "index", sample)
        for span in spans:
            mask = masks[source][span.document][span.first_token : span.first_token + span.tokens]
            counted[source][0] += sum(mask)
            counted[source][1] += len(mask) - sum(mask)
            counted[source][2] += span.first_token == 0
    assert counted == {
        name: [part.supervised_tokens, part.context_tokens, part.examples] for name, part in record.delivered.items()
    }


def test_what_no_window_holds_is_counted_by_source(finished: Finished) -> None:
    request, record = finished
    use = window_use(folder_of(request) / "index", record.consumed_samples)
    assert use.left_out.keys() == record.delivered.keys()
    assert any(left.tokens for left in use.left_out.values())
    for name, left in use.left_out.items():
        masks = masked_ids(request, name)[1]
        kept = [kept_tokens(mask) for mask in masks]
        short = [len(mask) - length for mask, length in zip(masks, kept, strict=True) if length < len(mask)]
        assert left == (len(short), sum(short))


def kept_tokens(mask: list[int]) -> int:
    """Tokens of a conversation that windows of 64 hold: up to the end of its last answer in there."""
    ends = [at for at in range(1, 65) if len(mask) > 64 and mask[at - 1] and not mask[at]]
    kept = ends[-1] if ends else min(len(mask), 64)
    return kept if any(mask[:kept]) else 0


def test_the_loss_of_a_batch_is_that_of_plain_pytorch_on_the_exported_model(
    plan: Callable[..., RunRequest], tmp_path: Path
) -> None:
    """Every conversation alone after an EOD, cross entropy of supervised tokens, over all of them in the batch."""
    from transformers import LlamaForCausalLM

    base = plan("pretrain")
    train_run(base)
    export_huggingface(folder_of(base), tmp_path / "base")
    request = plan(options=f", init_from: {folder_of(base)}")
    assert plan(options=f', init_from: "{base.key[:10]}"') == request
    record = train_run(request)
    model = LlamaForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32).eval()
    ids_of = {name: masked_ids(request, name) for name in request.draws}
    nats, count = 0.0, 0
    for sample in range(6):
        source, _, spans = spans_of(folder_of(request) / "index", sample)
        for span in spans:
            ids, mask = (of[span.document] for of in ids_of[source])
            first, last = span.first_token, span.first_token + span.tokens
            inputs = [ids[first - 1] if first else EOD, *ids[first : last - 1]]
            with torch.inference_mode():
                logits = model(torch.tensor([inputs])).logits[0]
            losses = cross_entropy(logits, torch.tensor(ids[first:last]), reduction="none")
            nats += float((losses * torch.tensor(mask[first:last])).sum())
            count += sum(mask[first:last])
    assert read_metrics(folder_of(request))[0].loss == pytest.approx(nats / count, abs=1e-5)
    assert record.post_training is not None
    (ancestor,) = record.post_training.ancestors
    assert (ancestor.run, ancestor.stage, ancestor.consumed_tokens) == (base.key, "pretrain", 1536)
    assert record.prior_tokens == 1536


def test_answers_are_scored_per_supervised_token_and_per_byte_of_answers(finished: Finished) -> None:
    request, record = finished
    assert sorted(record.heldout) == ["notes", "qa"]
    score, rows = record.heldout["qa"], pq.read_table(folder_of(request) / "scores.parquet")
    of_source = [row for row in rows.to_pylist() if row["source"] == "qa"]
    assert score.tokens == request.heldout["qa"].supervised_tokens == sum(row["supervised_tokens"] for row in of_source)
    assert score.tokens < request.heldout["qa"].tokens
    assert (
        0 < score.bytes == sum(row["answer_bytes"] for row in of_source) < sum(row["text_bytes"] for row in of_source)
    )
    assert score.loss == pytest.approx(sum(row["nll_nats"] for row in of_source) / score.tokens)
    assert record.heldout["notes"].tokens == request.heldout["notes"].tokens


def test_a_killed_run_resumes_to_the_same_record(plan: Callable[..., RunRequest]) -> None:
    request, elsewhere = (plan(options=", checkpoint_every: 384", place=place) for place in ("store", "other"))
    assert request.key == elsewhere.key
    kill_at(elsewhere, 3)
    assert train_run(elsewhere) == train_run(request)
    assert (folder_of(elsewhere) / "run.json").read_bytes() == (folder_of(request) / "run.json").read_bytes()


def test_two_ranks_deliver_the_same_conversations_and_losses_as_one(
    plan: Callable[..., RunRequest], finished: Finished
) -> None:
    one, record = finished
    two = plan(place="ranks")
    assert two.key == one.key
    train_on_ranks([two], 2)
    losses, expected = ([line.loss for line in read_metrics(folder_of(request))] for request in (two, one))
    assert losses == pytest.approx(expected, rel=1e-5)
    assert read_run(folder_of(two) / "run.json").delivered == record.delivered
    assert audit_run(folder_of(two)).failures == ()


def test_a_changed_mask_and_changed_counts_are_found(finished: Finished) -> None:
    request, record = finished
    folder = folder_of(request)
    mask = Store(request.store).folder(request.draws["qa"].prefix).with_name("qa.mask")
    kept = mask.read_bytes()
    mask.write_bytes(bytes([1 - kept[0]]) + kept[1:])
    assert {failure.equation for failure in audit_run(folder).failures} >= {"checksum", "E7"}
    mask.write_bytes(kept)
    part = record.delivered["qa"]
    for change in ({"supervised_tokens": 1}, {"examples": (part.examples or 0) + 1}, {"planned": part.planned + 1}):
        changed = {**record.delivered, "qa": part.model_copy(update=change)}
        (folder / "run.json").write_bytes(record.model_copy(update={"delivered": changed}).to_bytes())
        found = audit_run(folder, "arithmetic")
        (folder / "run.json").write_bytes(record.to_bytes())
        assert "E9" in {failure.equation for failure in found.failures}, change


def test_trace_names_conversations_and_when_they_were_seen(finished: Finished) -> None:
    request, _ = finished
    (sample,) = trace_step(folder_of(request), 1, 0).samples
    piece = sample.pieces[0]
    traced = trace_document(folder_of(request), piece.document.id)
    mask = masked_ids(request, sample.source)[1]
    row = int(piece.document.id.split("#")[1])
    assert traced.documents[0].sightings[0].sample == 0
    assert traced.documents[0].sightings[0].targets == sum(mask[row][piece.first_token :][: piece.tokens])


def test_stages_have_keys_of_their_own_and_options_that_do_not_fit_are_refused(plan: Callable[..., RunRequest]) -> None:
    assert plan().key != plan("pretrain").key
    assert plan(options=", windows: {too_long: split}").key != plan().key
    assert plan(options=", shares_by: tokens").key != plan().key
    for stage, options, message in (
        ("pretrain", ", shares_by: tokens", "applies only to a `stage` after pretraining"),
        ("pretrain", ", windows: {too_long: drop}", "applies only to a `stage` after pretraining"),
        ("sft", ", windows: {pack: concatenate}", "packs whole conversations by best fit"),
        ("sft", ", eod_mask_loss: true", "the mask of each conversation says which tokens count"),
    ):
        with pytest.raises((RequestError, SpecError), match=message):
            plan(stage, options)


def test_a_run_that_repeats_a_source_above_its_cap_is_refused(plan: Callable[..., RunRequest]) -> None:
    with pytest.raises((RequestError, SpecError), match="epochs of .*, but its cap is 4 epochs"):
        plan(**{"tokens: 1536": "tokens: 60_000"})
    with pytest.raises((RequestError, SpecError), match="needs at least 1 sample"):
        plan(**{"qa: 50%, talk: 30%, notes: 20%": "qa: 99.9%, talk: 0.1%"})
