"""Preference optimization from its plan to its audit: pairs in one window, the losses, the reference, the scores."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import logsigmoid

from mixproof.ledger.errors import AccountError, RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.load import load_spec
from mixproof.train.audit.run import audit_run
from mixproof.train.data.delivered import spans_of
from mixproof.train.data.draw import DrawSize, make_draw
from mixproof.train.evaluate.references import PLAIN
from mixproof.train.export.to_huggingface import export_huggingface
from mixproof.train.launch.plan import plan_requests
from mixproof.train.launch.references import replay_references
from mixproof.train.loop.metrics import read_metrics
from mixproof.train.loop.run import train_run
from mixproof.train.record import RunRecord, read_run, run_folder
from mixproof.train.request import RunRequest
from train_processes import kill_at, train_on_ranks

SPEC = """\
schema: 1
name: prefer
sources: {pairs: {files: "*.jsonl", format: preferences}, notes: {files: "*.jsonl"}}
tokenizer: {sentencepiece: tok.model}
mixtures: {all: {SOURCE: 100%}}
train:
  stage: STAGE
  sequence_length: 64
  proxies:
    tiny: {tokens: 1024, global_batch_size: 4, lr: 0.003,
      architecture: {layers: 2, hidden: 32, ffn: 64, heads: 4, kv_heads: 2, head_dim: 8}}
"""
EOD = 2
Plan = Callable[..., RunRequest]


def folder_of(request: RunRequest) -> Path:
    return run_folder(Store(request.store), request.key)


@pytest.fixture(scope="module")
def plan(make_pairs: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("preferences")

    def planned(
        stage: str, options: str = "", source: str = "pairs", place: str = "store", tokens: int = 1024
    ) -> RunRequest:
        path = folder / f"{stage}.yaml"
        text = SPEC.replace("STAGE", stage).replace("SOURCE", source).replace("1024", str(tokens))
        path.write_text(text + options)
        corpus = make_pairs(folder / place)
        for name, record in corpus.manifest.sources.items():
            for need in (1024, 2048, record.train.tokens):
                make_draw(corpus.store, corpus.manifest, DrawSize(name, need))
        (request,) = plan_requests(load_spec(path).spec, corpus.manifest, corpus.store, None)
        return request

    return planned


@pytest.fixture(scope="module")
def base(plan: Plan) -> Path:
    """The folder of a pretraining run."""
    request = plan("pretrain", source="notes")
    train_run(request)
    return folder_of(request)


@pytest.fixture(scope="module")
def started(base: Path) -> str:
    return f"  init_from: {base}\n"


@pytest.fixture(scope="module")
def finished(plan: Plan, started: str) -> tuple[RunRequest, RunRecord]:
    request = plan("dpo", started)
    return request, train_run(request)


def documents_of(request: RunRequest) -> tuple[list[list[int]], list[list[int]], list[float]]:
    """Ids, masks and ratings of a draw's documents, read with numpy alone."""
    prefix = Store(request.store).folder(request.draws["pairs"].prefix)
    rows = pq.read_table(prefix.with_name("pairs.parquet"))
    bounds = np.cumsum(rows["tokens"].to_numpy())[:-1]
    ids = np.split(np.fromfile(prefix.with_name("pairs.bin"), np.uint16), bounds)
    mask = np.split(np.fromfile(prefix.with_name("pairs.mask"), np.uint8), bounds)
    return [part.tolist() for part in ids], [part.tolist() for part in mask], rows["rating"].to_pylist()


def test_pairs_share_a_window_and_the_account_closes(finished: tuple[RunRequest, RunRecord]) -> None:
    request, record = finished
    assert audit_run(folder_of(request)).failures == ()
    part = record.delivered["pairs"]
    assert part.planned == part.supervised_tokens == part.targets
    pairs, tokens = 0, 0
    masks = documents_of(request)[1]
    for sample in range(record.consumed_samples):
        spans = spans_of(folder_of(request) / "index", sample)[2]
        rows = [span.document for span in spans]
        assert rows[::2] == [row - 1 for row in rows[1::2]] and all(row % 2 == 0 for row in rows[::2])
        pairs += len(rows) // 2
        tokens += sum(sum(masks[row]) for row in rows)
    assert (pairs, tokens) == (part.examples, part.supervised_tokens)
    longest = len(masks) - 2
    assert sum(len(mask) for mask in masks[longest:]) > 64, "the last pair does not fit, and is never read"
    lines = [json.loads(line) for line in (folder_of(request) / "metrics.jsonl").read_bytes().splitlines()]
    assert sum(line["targets_of"]["pairs"] for line in lines) == part.examples


def scores_of(request: RunRequest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder_of(request) / "scores.parquet").to_pylist()
    return found


def log_probabilities(model: Any, documents: list[list[int]], masks: list[list[int]]) -> list[torch.Tensor]:  # noqa: ANN401
    """Sum of ln p of the supervised tokens of each document, alone after an EOD."""
    found = []
    for ids, mask in zip(documents, masks, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([[EOD, *ids[:-1]]])).logits[0].double().log_softmax(1)
        found.append((logits[torch.arange(len(ids)), torch.tensor(ids)] * torch.tensor(mask)).sum())
    return found


@pytest.mark.parametrize(
    ("stage", "options"),
    [
        ("dpo", "  dpo: {beta: 0.5, label_smoothing: 0.1}\n"),
        ("dpo", "  dpo: {beta: 0.5, loss: ipo}\n"),
        ("rpo", "  rpo: {beta: 0.5, eta: 0.7}\n"),
    ],
)
def test_the_loss_of_a_batch_is_that_of_plain_pytorch_on_exported_models(
    plan: Plan, started: str, tmp_path: Path, stage: str, options: str
) -> None:
    """The model after two steps against the base: both exported, and the pairs of the third batch scored one by one."""
    from transformers import LlamaForCausalLM

    export_huggingface(started.split()[1], tmp_path / "base")
    options += "  schedule: {wsd: {warmup: 0%, decay: 0%}}\n"
    request, part = (plan(stage, started + options, tokens=tokens) for tokens in (1024, 512))
    train_run(part)
    export_huggingface(folder_of(part), tmp_path / "two")
    train_run(request)
    documents, masks, ratings = documents_of(request)
    rows = [span.document for sample in range(8, 12) for span in spans_of(folder_of(request) / "index", sample)[2]]
    chosen = [documents[row] for row in rows], [masks[row] for row in rows]
    policy, reference = (
        log_probabilities(LlamaForCausalLM.from_pretrained(tmp_path / name, dtype=torch.float32).eval(), *chosen)
        for name in ("two", "base")
    )
    losses = []
    for first in range(0, len(rows), 2):
        ratios = [policy[at] - reference[at] for at in (first, first + 1)]
        difference = ratios[0] - ratios[1]
        if stage == "rpo":
            wanted = torch.tensor(0.7 * (ratings[rows[first]] - ratings[rows[first + 1]]), dtype=torch.float64)
            a, b = torch.sigmoid(0.5 * difference), torch.sigmoid(wanted)
            losses.append(b * torch.log(b / a) + (1 - b) * torch.log((1 - b) / (1 - a)))
        elif "ipo" in options:
            means = [ratio / sum(mask) for ratio, mask in zip(ratios, chosen[1][first : first + 2], strict=True)]
            losses.append((means[0] - means[1] - 1 / (2 * 0.5)) ** 2)
        else:
            losses.append(-0.9 * logsigmoid(0.5 * difference) - 0.1 * logsigmoid(-0.5 * difference))
    expected = float(torch.stack(losses).mean())
    assert read_metrics(folder_of(request))[2].loss == pytest.approx(expected, abs=1e-5)


def test_the_first_loss_is_that_of_no_preference_and_the_gradient_teaches_it(plan: Plan, started: str) -> None:
    """At the start both log-ratios are 0, so the loss is ln 2; training on the same pairs lowers it."""
    request = plan("dpo", started + "  dpo: {beta: 0.5}\n  schedule: {wsd: {warmup: 0%, decay: 0%}}\n")
    train_run(request)
    losses = [row.loss for row in read_metrics(folder_of(request))]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert losses[-1] < 0.6


def test_pairs_are_scored_by_the_rewards_of_both_answers(finished: tuple[RunRequest, RunRecord]) -> None:
    request, record = finished
    score = record.heldout["pairs"]
    assert sorted(record.heldout) == ["chat", "pairs"]
    rows = [row for row in scores_of(request) if row["source"] == "pairs"]
    pairs = list(zip(rows[::2], rows[1::2], strict=True))
    assert score.pairs is not None
    assert score.pairs.pairs == len(pairs) == 6
    right = sum(chosen["reward"] > rejected["reward"] for chosen, rejected in pairs)
    assert score.pairs.pair_accuracy == right / 6
    assert score.pairs.margin == pytest.approx(np.mean([one["reward"] - other["reward"] for one, other in pairs]))
    assert score.loss == pytest.approx(sum(row["nll_nats"] for row in rows[::2]) / score.tokens)
    assert score.tokens == sum(row["supervised_tokens"] for row in rows[::2])


def test_the_divergence_is_that_of_exported_models_on_pairs_and_on_conversations(
    finished: tuple[RunRequest, RunRecord], started: str, tmp_path: Path
) -> None:
    """KL(model || start) over the vocabulary at every supervised token, in windows of 64 tokens, by plain PyTorch."""
    from transformers import LlamaForCausalLM

    request, record = finished
    models = []
    for folder in (folder_of(request), Path(started.split()[1])):
        export_huggingface(folder, tmp_path / folder.name)
        models.append(LlamaForCausalLM.from_pretrained(tmp_path / folder.name, dtype=torch.float32).eval())
    for source, step in (("pairs", 2), ("chat", 1)):
        (part,) = request.heldout[source].datasets
        path = Store(request.store).path(part.prefix)
        ids, mask = (np.fromfile(path.with_suffix(end), kind) for end, kind in ((".bin", "<u2"), (".mask", "u1")))
        rows = [row for row in scores_of(request) if row["source"] == source]
        first, sums = 0, []
        for row in rows:
            total = 0.0
            for start in range(first, first + row["tokens"], 64):
                targets = slice(start, min(start + 64, first + row["tokens"]))
                inputs = np.concatenate([[EOD], ids])[targets].astype(np.int64)
                with torch.inference_mode():
                    ours, theirs = (one(torch.tensor(inputs)[None]).logits[0].double().log_softmax(1) for one in models)
                total += float(((ours.exp() * (ours - theirs)).sum(1) * torch.tensor(mask[targets])).sum())
            sums.append(total)
            first += row["tokens"]
        counted = rows[::step]
        assert [row["kl_nats"] for row in counted] == pytest.approx(sums[::step], abs=1e-5)
        score = record.heldout[source] if step == 1 else record.heldout[source].pairs
        assert score is not None and score.kl is not None and score.kl_interval is not None
        assert score.kl == pytest.approx(sum(sums[::step]) / sum(row["supervised_tokens"] for row in counted), abs=1e-7)
        assert 0 < score.kl_interval[0] < score.kl < score.kl_interval[1]


def test_another_interval_of_the_divergence_is_found(finished: tuple[RunRequest, RunRecord]) -> None:
    path = folder_of(finished[0]) / "run.json"
    kept = path.read_bytes()
    record = json.loads(kept)
    record["heldout"]["chat"]["kl_interval"][1] *= 1.01
    path.write_bytes(json.dumps(record).encode())
    try:
        failures = [one for one in audit_run(folder_of(finished[0])).failures if one.equation == "E10"]
    finally:
        path.write_bytes(kept)
    assert [(one.source, one.expected.split()[0]) for one in failures] == [("chat", "kl_interval")]


def test_the_reference_is_computed_once_and_a_changed_one_is_refused(plan: Plan, started: str) -> None:
    request = plan("dpo", started)
    store = Store(request.store)
    keys = store.keys("reference")
    assert len(keys) == 2, "of the training side and of the held-out side"
    other = plan("dpo", started + "  seeds: [7]\n")
    train_run(other)
    assert store.keys("reference") == keys
    assert set(json.loads((folder_of(other) / "circumstances.json").read_bytes())["references"].values()) == {"reused"}
    assert replay_references([request, other]).failures == ()
    path = next(store.path(f"reference/{key}/pairs.parquet") for key in keys)
    kept = path.read_bytes()
    table = pq.read_table(path)
    pq.write_table(table.set_column(2, "log_probability", [table["log_probability"].to_numpy() + 1]), path, **PLAIN)
    assert len(path.read_bytes()) == len(kept)
    try:
        with pytest.raises(AccountError, match="log-probabilities within"):
            train_run(plan("dpo", started + "  seeds: [8]\n"))
        assert "checksum" in {failure.equation for failure in audit_run(folder_of(other)).failures}
        (failure,) = replay_references([request, other]).failures
        assert (failure.equation, failure.source, failure.stage) == ("E10", "pairs", "reference")
    finally:
        path.write_bytes(kept)


@pytest.mark.parametrize("stage", ["dpo", "rpo"])
def test_a_killed_run_resumes_to_the_same_record(plan: Plan, started: str, stage: str) -> None:
    request = plan(stage, started + "  checkpoint_every: 512\n")
    elsewhere = plan(stage, started + "  checkpoint_every: 512\n", place="other")
    assert request.key == elsewhere.key
    kill_at(elsewhere, 3)
    assert train_run(elsewhere) == train_run(request)


def test_two_ranks_see_the_same_pairs_and_losses_as_one(
    plan: Plan, started: str, finished: tuple[RunRequest, RunRecord]
) -> None:
    one, record = finished
    two = plan("dpo", started, place="ranks")
    assert two.key == one.key
    train_on_ranks([two], 2)
    losses, expected = ([line.loss for line in read_metrics(folder_of(request))] for request in (two, one))
    assert losses == pytest.approx(expected, rel=1e-5)
    found = read_run(folder_of(two) / "run.json")
    assert found.delivered == record.delivered
    assert found.heldout["pairs"].loss == pytest.approx(record.heldout["pairs"].loss, rel=1e-4)
    assert audit_run(folder_of(two)).failures == ()


def test_a_stage_on_pairs_says_what_it_needs(plan: Plan, started: str) -> None:
    for options, source, message in (
        ("", "pairs", "measures answers against the checkpoint that it starts from"),
        (started + "  windows: {too_long: split}\n", "pairs", "do not fit into a window are dropped"),
        (started, "notes", "stage dpo trains on `format: preferences`, and 'notes' has plain text"),
        (started + "  rpo: {eta: 2}\n", "pairs", "applies only to stage rpo"),
    ):
        with pytest.raises((RequestError, SpecError), match=message):
            plan("dpo", options, source)
