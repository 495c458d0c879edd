"""An exported run: transformers loads it, generates, and scores what the run's own model scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mixproof.ledger.errors import AccountError, DamagedFileError, RequestError
from mixproof.tokenize.tokenizer.sentencepiece import load_processor
from mixproof.train.checkpoint.huggingface import read_llama, to_huggingface
from mixproof.train.checkpoint.weights import load_model, open_finished_run, weights_of
from mixproof.train.distributed import process_group
from mixproof.train.export import to_huggingface as exporting
from mixproof.train.export.to_huggingface import export_huggingface
from mixproof.train.loop.run import train_run
from mixproof.train.request import RunRequest


@pytest.fixture
def request_of_run(make_request: Callable[..., RunRequest], model_bytes: bytes) -> RunRequest:
    """A finished run of six steps, its tokenizer recorded with its true checksum."""
    request = make_request(steps=6)
    sha256 = hashlib.sha256(model_bytes).hexdigest()
    return request.model_copy(update={"tokenizer": request.tokenizer.model_copy(update={"sha256": sha256})})


@pytest.fixture
def run(request_of_run: RunRequest) -> Path:
    record = train_run(request_of_run)
    return Path(request_of_run.store) / "train" / record.key


def test_transformers_loads_it_and_generates(run: Path, tmp_path: Path) -> None:
    export = export_huggingface(run, tmp_path / "llama")
    assert export.largest_difference <= 1e-5 and export.logits_checked == 64  # two windows of 32
    assert export.tokenizer.exact and export.tokenizer.texts > 1000
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "llama")
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "llama")
    ids = tokenizer("The statement", return_tensors="pt").input_ids
    written = model.generate(ids, max_new_tokens=5, do_sample=False)
    assert written.shape[1] > ids.shape[1]
    assert tokenizer.decode(ids[0]) == "The statement"


def test_literal_control_pieces_stay_text(run: Path, tmp_path: Path, request_of_run: RunRequest) -> None:
    export_huggingface(run, tmp_path / "llama")
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "llama")
    processor = load_processor(str(tmp_path / "llama" / "tokenizer.model"))
    for text in ("a</s>b", "<s>", "<unk> x", "日本 naïve\n\tif x:"):
        assert tokenizer(text).input_ids == processor.encode(text)
    assert tokenizer.eos_token_id == request_of_run.tokenizer.eod_id


def test_weights_come_back_bit_for_bit_from_disk(run: Path, tmp_path: Path) -> None:
    export_huggingface(run, tmp_path / "llama")
    read = read_llama(tmp_path / "llama")
    with process_group("cpu") as ranks:
        weights = weights_of(load_model(open_finished_run(run), ranks.device))
    assert set(read.weights) == set(weights)
    assert all(torch.equal(read.weights[name], weights[name]) for name in weights)
    facts = json.loads((tmp_path / "llama" / "mixproof.json").read_text())
    assert facts["run"] == run.name and set(facts["files"]) >= {"config.json", "model.safetensors", "tokenizer.json"}


def test_an_export_whose_logits_differ_fails_and_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def halves_swapped(*arguments: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401  as `to_huggingface`
        tensors = right(*arguments)
        name = "model.layers.0.mlp.{}_proj.weight"
        gate, up = tensors[name.format("gate")], tensors[name.format("up")]
        return tensors | {name.format("gate"): up, name.format("up"): gate}

    right = to_huggingface
    monkeypatch.setattr(exporting, "to_huggingface", halves_swapped)
    with pytest.raises(AccountError, match=r"within 1e-05 of Megatron's, found a difference of"):
        export_huggingface(run, tmp_path / "llama")
    assert not list(tmp_path.glob("*llama*"))


def test_a_taken_folder_and_a_damaged_checkpoint_are_refused(run: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "something").write_text("here")
    with pytest.raises(RequestError, match="already exists and is not an empty folder"):
        export_huggingface(run, taken)
    data = next(run.glob("checkpoints/*/__0_0.distcp"))
    content = bytearray(data.read_bytes())
    content[100] ^= 1
    data.write_bytes(content)
    with pytest.raises(DamagedFileError, match="the run's record says"):
        export_huggingface(run, tmp_path / "llama")
    with pytest.raises(RequestError, match="no run record; `mixproof train` writes one"):
        export_huggingface(tmp_path, tmp_path / "llama")
