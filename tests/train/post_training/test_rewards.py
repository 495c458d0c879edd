"""Reward models from their plan to their audit and export: Bradley-Terry on pairs, regression on rated answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from megatron.core import dist_checkpointing
from safetensors.torch import load_file
from scipy.stats import spearmanr
from torch.nn.functional import logsigmoid

from mixproof.ledger.store import Store
from mixproof.mixtures.load import load_spec
from mixproof.train.audit.run import audit_run
from mixproof.train.data.delivered import spans_of
from mixproof.train.data.draw import DrawSize, make_draw
from mixproof.train.distributed import process_group
from mixproof.train.export.to_huggingface import export_huggingface
from mixproof.train.export.to_megatron import export_megatron
from mixproof.train.launch.plan import plan_requests
from mixproof.train.loop.metrics import read_metrics
from mixproof.train.loop.run import train_run
from mixproof.train.record import RunRecord, run_folder
from mixproof.train.request import RunRequest
from train_processes import kill_at

SPEC = """\
schema: 1
name: judge
sources: {SOURCE: {files: "*.jsonl", format: FORMAT}, notes: {files: "*.jsonl"}}
tokenizer: {sentencepiece: tok.model}
mixtures: {all: {SOURCE: 100%}}
train:
  stage: reward
  sequence_length: 64
  schedule: {wsd: {warmup: 0%, decay: 0%}}
  checkpoint_every: 512
  proxies:
    tiny: {tokens: TOKENS, global_batch_size: 4, lr: 0.003,
      architecture: {layers: 2, hidden: 32, ffn: 64, heads: 4, kv_heads: 2, head_dim: 8}}
"""
EOD = 2
Plan = Callable[..., RunRequest]
Train = Callable[[str], tuple[RunRequest, RunRecord]]


@pytest.fixture(scope="module")
def plan(
    make_pairs: Callable[..., Any], make_ratings: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Plan:
    folder = tmp_path_factory.mktemp("rewards")

    def planned(source: str, tokens: int = 1024, place: str = "store") -> RunRequest:
        path = folder / f"{source}.yaml"
        form = {"pairs": "preferences", "rated": "ratings"}[source]
        path.write_text(SPEC.replace("SOURCE", source).replace("FORMAT", form).replace("TOKENS", str(tokens)))
        corpus = (make_pairs if source == "pairs" else make_ratings)(folder / f"{source}-{place}")
        for name, record in corpus.manifest.sources.items():
            make_draw(corpus.store, corpus.manifest, DrawSize(name, record.train.tokens))
        (request,) = plan_requests(load_spec(path).spec, corpus.manifest, corpus.store, None)
        return request

    return planned


@pytest.fixture(scope="module")
def finished(plan: Plan) -> Train:
    runs: dict[str, tuple[RunRequest, RunRecord]] = {}

    def trained(source: str) -> tuple[RunRequest, RunRecord]:
        if source not in runs:
            request = plan(source)
            runs[source] = (request, train_run(request))
        return runs[source]

    return trained


def folder_of(request: RunRequest) -> Path:
    return run_folder(Store(request.store), request.key)


def documents_of(request: RunRequest, source: str) -> tuple[list[list[int]], dict[str, list[Any]]]:
    """Ids and provenance of a draw's documents, read with numpy alone."""
    prefix = Store(request.store).folder(request.draws[source].prefix)
    rows = pq.read_table(prefix.with_name(f"{source}.parquet"))
    bounds = np.cumsum(rows["tokens"].to_numpy())[:-1]
    ids = np.split(np.fromfile(prefix.with_name(f"{source}.bin"), np.uint16), bounds)
    return [part.tolist() for part in ids], rows.to_pydict()


def rewards_of(folder: Path, documents: list[list[int]]) -> torch.Tensor:
    """[documents, outputs] by transformers, each document alone after an EOD and without its own."""
    from transformers import LlamaForSequenceClassification

    model: Any = LlamaForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return torch.cat([model(torch.tensor([[EOD, *ids[:-1]]])).logits for ids in documents]).double()


@pytest.mark.parametrize("source", ["pairs", "rated"])
def test_the_loss_of_a_batch_is_that_of_the_exported_classifier(
    plan: Plan, finished: Train, tmp_path: Path, source: str
) -> None:
    """The model after two steps, exported; the answers of the third batch scored one by one."""
    request, _ = finished(source)
    part = plan(source, 512)
    train_run(part)
    export_huggingface(folder_of(part), tmp_path / "two")
    documents, rows = documents_of(request, source)
    batch = [span.document for at in range(8, 12) for span in spans_of(folder_of(request) / "index", at)[2]]
    rewards = rewards_of(tmp_path / "two", [documents[row] for row in batch])
    if source == "pairs":
        margins = torch.tensor([rows["margin"][row] or 0.0 for row in batch[::2]], dtype=torch.float64)
        assert float(margins.max()) > 0 and float(margins.min()) == 0, "some pairs have a margin"
        expected = float(-logsigmoid(rewards[::2, 0] - rewards[1::2, 0] - margins).mean())
    else:
        rated = [[rows[f"attribute.{name}"][row] for name in ("steps", "tone")] for row in batch]
        errors = [
            (float(reward) - value) ** 2
            for given, found in zip(rated, rewards, strict=True)
            for value, reward in zip(given, found, strict=True)
            if value is not None
        ]
        assert len(errors) < 2 * len(batch), "some ratings are absent"
        expected = float(np.mean(errors))
    assert read_metrics(folder_of(request))[2].loss == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("source", ["pairs", "rated"])
def test_the_account_closes_and_the_audit_is_clean(finished: Train, source: str) -> None:
    request, record = finished(source)
    assert audit_run(folder_of(request)).failures == ()
    part = record.delivered[source]
    assert part.planned == part.supervised_tokens
    lines = [json.loads(line) for line in (folder_of(request) / "metrics.jsonl").read_bytes().splitlines()]
    assert sum(line["targets_of"][source] for line in lines) == part.examples


def test_held_out_pairs_are_scored(finished: Train) -> None:
    request, record = finished("pairs")
    score, rows = record.heldout["pairs"], pq.read_table(folder_of(request) / "scores.parquet").to_pylist()
    differences = [one["reward"] - other["reward"] for one, other in zip(rows[::2], rows[1::2], strict=True)]
    assert score.pairs is not None and score.bits_per_byte is None
    assert (score.tokens, score.pairs.pairs, score.pairs.kl) == (6, 6, None)
    assert score.pairs.pair_accuracy == np.mean([one > 0 for one in differences])
    assert score.pairs.margin == pytest.approx(np.mean(differences))


def test_held_out_ratings_are_scored_by_attribute(finished: Train, tmp_path: Path) -> None:
    request, record = finished("rated")
    attributes = record.heldout["rated"].attributes
    assert attributes is not None
    rows = pq.read_table(folder_of(request) / "scores.parquet").to_pylist()
    assert (attributes["steps"].answers, attributes["tone"].answers) == (12, 8)
    steps = [(row["attribute.steps"], row["predicted.steps"]) for row in rows]
    assert attributes["steps"].mean_squared_error == pytest.approx(np.mean([(one - two) ** 2 for one, two in steps]))
    columns = np.array(steps)
    rank_correlation = spearmanr(columns[:, 0], columns[:, 1]).statistic
    assert attributes["steps"].rank_correlation == pytest.approx(float(rank_correlation))
    export_huggingface(folder_of(request), tmp_path / "judge")
    prefix = Store(request.store).path(request.heldout["rated"].datasets[0].prefix)
    ids = np.fromfile(prefix.with_name(f"{prefix.name}.bin"), np.uint16)
    documents = np.split(ids, np.cumsum([row["tokens"] for row in rows])[:-1])
    found = rewards_of(tmp_path / "judge", [part.tolist() for part in documents])
    assert found[:, 0].tolist() == pytest.approx([row["predicted.steps"] for row in rows], abs=1e-5)
    config = json.loads((tmp_path / "judge" / "config.json").read_bytes())
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    assert config["id2label"] == {"0": "steps", "1": "tone"}


@pytest.mark.filterwarnings(
    # Megatron loads by torch's older names
    "ignore:`load_state_dict` is deprecated:FutureWarning",
    "ignore:Please use DTensor instead:FutureWarning",
)
def test_the_megatron_export_of_a_reward_model_has_its_head(finished: Train, tmp_path: Path) -> None:
    request, record = finished("rated")
    export = export_megatron(folder_of(request), tmp_path / "megatron")
    assert export.weights == record.parameters.total + 2 * 32
    assert json.loads((tmp_path / "megatron" / "reward_head.json").read_bytes())["outputs"] == ["steps", "tone"]
    export_huggingface(folder_of(request), tmp_path / "llama")
    with process_group("cpu"):
        plain = dist_checkpointing.load_plain_tensors(str(tmp_path / "megatron" / f"iter_{record.steps:07d}"))
    assert torch.equal(plain["reward_head.weight"], load_file(tmp_path / "llama" / "model.safetensors")["score.weight"])


@pytest.mark.parametrize("source", ["pairs", "rated"])
def test_a_killed_reward_run_resumes_with_its_head(plan: Plan, finished: Train, source: str) -> None:
    elsewhere = plan(source, place="other")
    kill_at(elsewhere, 3)
    assert train_run(elsewhere) == finished(source)[1]
