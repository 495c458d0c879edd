"""Weights under Llama's names: the same logits, and back without a changed bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.checkpoint.huggingface import from_huggingface, read_llama, to_huggingface
from mixproof.train.checkpoint.huggingface_config import llama_config
from mixproof.train.checkpoint.weights import weights_of
from mixproof.train.distributed import Ranks
from mixproof.train.model.model import build_model

GROUPED = Architecture(layers=3, hidden=24, ffn=40, heads=6, kv_heads=2, head_dim=6)
ALIKE = Architecture(layers=2, hidden=32, ffn=48, heads=4, kv_heads=4, head_dim=8)
VOCAB_SIZE = 90


def a_model(architecture: Architecture, rope_base: int) -> Any:  # noqa: ANN401  megatron-core has no types
    """Random weights, the gains of the norms among them."""
    model = build_model(
        architecture,
        vocab_size=VOCAB_SIZE,
        sequence_length=16,
        rope_base=rope_base,
        seed=1,
        device=torch.device("cpu"),
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def config_of(architecture: Architecture, rope_base: int) -> dict[str, Any]:
    return llama_config(architecture, vocab_size=VOCAB_SIZE, sequence_length=16, rope_base=rope_base, eod_id=2)


@pytest.mark.parametrize(("architecture", "rope_base"), [(GROUPED, 500_000), (ALIKE, 10_000)])
def test_transformers_gives_the_same_logits(architecture: Architecture, rope_base: int, ranks: Ranks) -> None:
    model = a_model(architecture, rope_base)
    llama: Any = LlamaForCausalLM(LlamaConfig.from_dict(config_of(architecture, rope_base))).float().eval()
    tensors = to_huggingface(weights_of(model), architecture)
    assert llama.load_state_dict(tensors, strict=False).unexpected_keys == []
    ids = torch.randint(0, VOCAB_SIZE, (2, 16))
    with torch.inference_mode():
        ours = model(ids, torch.arange(16).expand(2, -1), None, runtime_gather_output=True)
        assert float((ours - llama(ids).logits).abs().max()) < 1e-5
        other = LlamaForCausalLM(LlamaConfig.from_dict(config_of(architecture, 100))).float().eval()
        other.load_state_dict(tensors, strict=False)
        assert float((ours - other(ids).logits).abs().max()) > 1e-4


@pytest.mark.parametrize("architecture", [GROUPED, ALIKE])
def test_weights_come_back_bit_for_bit(architecture: Architecture, ranks: Ranks) -> None:
    weights = weights_of(a_model(architecture, 10_000))
    back = from_huggingface(to_huggingface(weights, architecture), architecture)
    assert set(back) == set(weights)
    assert all(torch.equal(back[name], weights[name]) for name in weights)


@pytest.fixture
def folder(ranks: Ranks, tmp_path: Path) -> Path:
    """A model's folder, without a tokenizer."""
    save_file(to_huggingface(weights_of(a_model(GROUPED, 500_000)), GROUPED), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config_of(GROUPED, 500_000)))
    return tmp_path


def test_a_folder_is_read_as_a_proxy(folder: Path) -> None:
    model = read_llama(folder)
    assert (model.architecture, model.vocab_size, model.sequence_length) == (GROUPED, VOCAB_SIZE, 16)
    assert model.rope_base == 500_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention_bias": True}, "no proxy has this: attention_bias True"),
        ({"model_type": "gpt2"}, "model_type 'gpt2'"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "rope_parameters"),
        ({"vocab_size": 91}, r"word_embeddings.weight has shape \(90, 24\), config.json says \(91, 24\)"),
        ({"num_hidden_layers": 4}, "the weights do not have the shape in config.json: 'model.layers.3."),
    ],
)
def test_what_is_no_proxy_is_refused(folder: Path, change: dict[str, Any], message: str) -> None:
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises((RequestError, DamagedFileError), match=message):
        read_llama(folder)


def test_a_damaged_or_missing_file_is_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(DamagedFileError, match=r"model\.safetensors"):
        read_llama(folder)
    weights.unlink()
    with pytest.raises(RequestError, match="from safetensors only, never from pickles"):
        read_llama(folder)
    with pytest.raises(RequestError, match=r"no config\.json, so this is not a Hugging Face model"):
        read_llama(folder / "nowhere")
