"""Starting from a Hugging Face folder, an export or another's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.checkpoint.huggingface import to_huggingface
from mixproof.train.checkpoint.huggingface_config import llama_config
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


LINEAR = {"type": "linear", "factor": 4.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rope_scaling": LINEAR}, r'rope_scaling \{"type": "linear"'),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "not plain ones"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "not plain ones"),
        ({"rope_parameters": {"type": "linear", "factor": 4.0, "rope_theta": 5e5}}, "rope_parameters .*not plain ones"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5, "factor": 4.0}}, "not plain ones"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}, "rope_theta": 5e5}}, "not plain ones"),
        ({"rope_parameters": {"rope_theta": 500_000.5}}, r"rotary base is 500000\.5; a proxy's is one whole number"),
        ({"rope_theta": 10_000.0}, r"rotary base is 10000\.0, 500000\.0"),
        ({"rope_scaling": "yarn"}, "not plain ones"),
        ({"partial_rotary_factor": 0.5}, r"partial_rotary_factor 0\.5"),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, "does not know .* quantization_config"),
        ({"residual_multiplier": 0.22}, r"does not know .* residual_multiplier 0\.22"),
        ({"sliding_window": 4096}, "sliding_window 4096"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"rms_norm_eps": 1e-6}, "rms_norm_eps 1e-06"),
        ({"rms_norm_eps": ...}, "rms_norm_eps 1e-06"),  # transformers' default where the key is missing
        ({"model_type": "mistral"}, "model_type 'mistral'"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "architectures"),
        ({"attention_bias": True}, "attention_bias True"),
        ({"tie_word_embeddings": False}, r"no lm_head\.weight"),
        ({"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 4}, "num_attention_heads 8 .the proxy has 4"),
        ({"num_key_value_heads": 3}, "do not divide evenly"),
        ({"num_hidden_layers": 1}, "tensors that no proxy has, such as model.layers.1."),
        ({"hidden_size": 32.0}, r"hidden_size 32\.0; sizes must be whole numbers"),
        ({"num_hidden_layers": 2**70}, r"config.json: layers: .*10,000"),
        ({"num_attention_heads": 0}, "num_attention_heads 0"),
        ({"num_attention_heads": "4"}, "num_attention_heads '4'"),
    ],
)
def test_a_configuration_that_is_not_known_to_be_a_proxys_is_refused(
    folder: Path, change: dict[str, Any], message: str
) -> None:
    config = json.loads((folder / "config.json").read_text()) | change
    config = {name: value for name, value in config.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(RequestError, match=message):
        check_initial(find_initial(folder, TOKENIZER), SHAPE, 600, 500_000)


@pytest.mark.parametrize(
    "change",
    [
        {"rope_scaling": None, "quantization_config": None, "something_new": None},
        {"rope_scaling": {"type": "default"}, "rope_theta": 500_000},
        {"torch_dtype": "bfloat16", "transformers_version": "4.30.0", "_name_or_path": "x", "pretraining_tp": 1},
    ],
)
def test_other_spellings_of_a_plain_llama_are_read(folder: Path, change: dict[str, Any]) -> None:
    config = json.loads((folder / "config.json").read_text()) | change
    if "rope_theta" in change:
        del config["rope_parameters"]
    (folder / "config.json").write_text(json.dumps(config))
    check_initial(find_initial(folder, TOKENIZER), SHAPE, 600, 500_000)


def frequencies(base: float) -> torch.Tensor:
    return 1.0 / base ** (torch.arange(0, 8, 2) / 8)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ({"model.layers.0.self_attn.q_proj.weight_scale": torch.ones(1)}, r"q_proj\.weight_scale"),
        ({"model.layers.0.self_attn.q_proj.bias": torch.zeros(32)}, r"q_proj\.bias"),
        ({"model.layers.0.self_attn.q_norm.weight": torch.ones(8)}, r"q_norm\.weight"),
        ({"model.layers.2.input_layernorm.weight": torch.ones(32)}, r"layers\.2\."),
        ({"score.weight": torch.ones(2, 32)}, "score.weight"),
        (
            {"model.norm.weight": torch.ones(32, dtype=torch.float8_e4m3fn)},
            "weights in float8_e4m3fn; a proxy can start from float32",
        ),
        ({"model.norm.weight": torch.ones(32, dtype=torch.int8)}, "weights in int8"),
        ({"model.layers.1.self_attn.rotary_emb.inv_freq": frequencies(10_000)}, "not those of base 500000"),
        ({"lm_head.weight": torch.ones(600, 32)}, "output layer differs from the embedding"),
        ({"model.layers.1.self_attn.rotary_emb.inv_freq": frequencies(500_000)}, None),
        ({"model.layers.1.self_attn.rotary_emb.inv_freq": frequencies(500_000).half()}, None),
    ],
)
def test_tensors_that_no_proxy_has_are_refused(folder: Path, added: Tensors, message: str | None) -> None:
    path = folder / "model.safetensors"
    save_file({**load_file(path), **added}, path)
    initial = find_initial(folder, TOKENIZER)
    if message is None:
        check_initial(initial, SHAPE, 600, 500_000)
        return
    with pytest.raises(RequestError, match=message):
        check_initial(initial, SHAPE, 600, 500_000)


@pytest.mark.parametrize("name", ["../other.safetensors", "/x.safetensors", 3])
def test_weights_outside_the_folder_are_not_read(folder: Path, name: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"model.norm.weight": name}}))
    with pytest.raises(RequestError, match="not a file in the model's folder"):
        check_initial(find_initial(folder, TOKENIZER), SHAPE, 600, 500_000)
    (folder / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(DamagedFileError, match="not an index of safetensors"):
        check_initial(find_initial(folder, TOKENIZER), SHAPE, 600, 500_000)


@pytest.mark.parametrize("tokens", [-5, 2.5, True, "1000", None])
def test_tokens_that_are_no_count_are_refused(folder: Path, tokens: object) -> None:
    (folder / "mixproof.json").write_text(json.dumps({"consumed_tokens": tokens}))
    with pytest.raises(RequestError, match="does not say how many tokens"):
        find_initial(folder, TOKENIZER)


def test_a_folder_that_transformers_writes_is_read(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=600,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    (tmp_path / "mixproof.json").write_text('{"consumed_tokens": 1000}')
    check_initial(find_initial(tmp_path, TOKENIZER), SHAPE, 600, 10_000)
