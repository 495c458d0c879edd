"""Starting from a Hugging Face folder, an export or another's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.mixtures.train_spec import Architecture
from mixproof.train.checkpoint.huggingface import llama_config, to_huggingface
from mixproof.train.checkpoint.initial import check_initial, find_initial, initial_weights
from mixproof.train.model.weight_names import shapes_of

SHAPE = Architecture(layers=2, hidden=32, ffn=64, heads=4, kv_heads=2, head_dim=8)
TOKENIZER = "0" * 64
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def weights() -> Tensors:
    generator = torch.Generator().manual_seed(5)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes_of(SHAPE, 600).items()}


@pytest.fixture
def folder(weights: Tensors, tmp_path: Path) -> Path:
    """A model at base 500,000 that has seen 64,000 tokens, 1,000 of them before it was a run."""
    save_file(to_huggingface(weights, SHAPE), tmp_path / "model.safetensors")
    config = llama_config(SHAPE, vocab_size=600, sequence_length=64, rope_base=500_000, eod_id=2)
    (tmp_path / "config.json").write_text(json.dumps(config))
    facts = {"consumed_tokens": 63_000, "prior_tokens": 1_000, "tokenizer_sha256": TOKENIZER}
    (tmp_path / "mixproof.json").write_text(json.dumps(facts))
    return tmp_path


def test_weights_and_tokens_are_those_of_the_model(folder: Path, weights: Tensors) -> None:
    initial = find_initial(folder, TOKENIZER)
    assert initial.prior_tokens == 64_000
    found = initial_weights(initial, SHAPE, 600)
    assert set(found) == set(weights)
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())
    check_initial(initial, SHAPE, 600, 500_000)


def test_a_model_that_is_not_the_proxy_is_refused(folder: Path) -> None:
    initial = find_initial(folder, TOKENIZER)
    with pytest.raises(RequestError, match="base of 500000, the spec of 10000; set `train.rope_base: 500000`"):
        check_initial(initial, SHAPE, 600, 10_000)
    with pytest.raises(RequestError, match="they are different models"):
        check_initial(initial, SHAPE.model_copy(update={"layers": 3}), 600, 500_000)
    with pytest.raises(RequestError, match="has no optimizer state; remove `optimizer: true`"):
        check_initial(initial.model_copy(update={"optimizer": True}), SHAPE, 600, 500_000)


def test_a_model_that_does_not_say_its_tokens_or_has_another_tokenizer_is_refused(folder: Path) -> None:
    with pytest.raises(RequestError, match="trained with tokenizer 000.*the spec's tokenizer is 111"):
        find_initial(folder, "1" * 64)
    facts = folder / "mixproof.json"
    facts.write_text('{"consumed_tokens": 5}')
    assert find_initial(folder, "1" * 64).prior_tokens == 5
    for text in ("[]", "{}", "{"):
        facts.write_text(text)
        with pytest.raises(RequestError, match=r'mixproof\.json: .* write \{"consumed_tokens": N\} into it'):
            find_initial(folder, TOKENIZER)
    facts.unlink()
    with pytest.raises(RequestError, match=r"mixproof\.json: the file is missing or does not say"):
        find_initial(folder, TOKENIZER)


def test_a_damaged_configuration_is_named(folder: Path) -> None:
    initial = find_initial(folder, TOKENIZER)
    (folder / "config.json").write_text("{")
    with pytest.raises(DamagedFileError, match=r"config\.json"):
        initial_weights(initial, SHAPE, 600)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(RequestError, match="num_hidden_layers, hidden_size.* missing"):
        initial_weights(initial, SHAPE, 600)
