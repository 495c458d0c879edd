"""Starting from checkpoints of Megatron-LM: every layout gives the same weights, and nothing in a file is run."""

from __future__ import annotations

import argparse
import os
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.checkpoint.initial import check_initial, find_initial, initial_weights
from mixproof.train.checkpoint_files import checkpoint_path
from mixproof.train.export.to_megatron import export_megatron
from mixproof.train.loop.run import train_run
from mixproof.train.record import run_folder
from mixproof.train.request import InitialCheckpoint, RunRequest

MakeRequest = Callable[..., RunRequest]
Tensors = dict[str, torch.Tensor]
SHAPE = Architecture(layers=2, hidden=32, ffn=64, heads=4, kv_heads=2, head_dim=8)
TOKENIZER = "0" * 64


class Malicious:
    """Pickled as a command."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture(scope="module")
def enum_of_megatron() -> Any:  # noqa: ANN401  an object of a class that only the file's writer has
    module = ModuleType("megatron.imaginary")
    kind = type("ModelType", (), {"__module__": "megatron.imaginary", "__init__": lambda self: None})
    module.ModelType = kind  # type: ignore[attr-defined]
    sys.modules["megatron.imaginary"] = module
    yield kind()
    del sys.modules["megatron.imaginary"]


@pytest.fixture
def weights() -> Tensors:
    """Weights of the tiny proxy at a vocabulary of 600, by this trainer's names."""
    from mixproof.train.model.weight_names import shapes_of

    generator = torch.Generator().manual_seed(5)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes_of(SHAPE, 600).items()}


def fused(weights: Mapping[str, torch.Tensor]) -> Tensors:
    """Names of Transformer Engine's layers."""
    return {
        name.replace("input_layernorm.weight", "self_attention.linear_qkv.layer_norm_weight").replace(
            "pre_mlp_layernorm.weight", "mlp.linear_fc1.layer_norm_weight"
        ): tensor
        for name, tensor in weights.items()
    }


def one_expert(weights: Mapping[str, torch.Tensor], *, split: bool) -> Tensors:
    """The FFN as a mixture of one expert: gate, up and down apart below `moe`, or Megatron's local experts."""
    made: Tensors = {}
    for name, tensor in weights.items():
        layer, _, rest = name.partition(".mlp.")
        if not rest:
            made[f"module.{name}"] = tensor
        elif not split:
            made[f"module.{layer}.mlp.experts.local_experts.0.{rest}"] = tensor
            made[f"module.{layer}.mlp.router.weight"] = torch.ones(1, 32)
        elif rest == "linear_fc2.weight":
            made[f"module.{layer}.moe.experts.0.down_proj.weight"] = tensor
        else:
            gate, up = tensor.chunk(2)
            made[f"module.{layer}.moe.experts.0.up_proj.weight"] = up.clone()
            made[f"module.{layer}.moe.experts.0.gate_proj.weight"] = gate.clone()
    return made


def write(folder: Path, model: Tensors, *extra_arguments: Any, **content: Any) -> Path:  # noqa: ANN401
    """Write Megatron-LM's layout of one rank, trained on 1,000 samples of 64 tokens."""
    path = folder / "iter_0000250/mp_rank_00/model_optim_rng.pt"
    path.parent.mkdir(parents=True)
    (folder / "latest_checkpointed_iteration.txt").write_text("250\n")
    arguments = argparse.Namespace(consumed_train_samples=1000, seq_length=64, params_dtype=torch.bfloat16)
    for number, argument in enumerate(extra_arguments):
        setattr(arguments, f"extra_{number}", argument)
    saved = {"args": arguments, "checkpoint_version": 3.0, "iteration": 250, "model": model, **content}
    torch.save(saved, path)
    return path


def assert_equal(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name].float(), tensor), name


def test_every_layout_gives_the_same_weights(weights: Tensors, tmp_path: Path, enum_of_megatron: Any) -> None:  # noqa: ANN401
    optimizer = {"state": {0: {"exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 0.1}]}
    layouts = {
        "plain": write(tmp_path / "plain", dict(weights)),
        "fused": write(tmp_path / "fused", fused(weights), optimizer=optimizer, rng_state=[{"torch": torch.zeros(3)}]),
        "local experts": write(tmp_path / "local", one_expert(weights, split=False), enum_of_megatron),
        "split expert": write(tmp_path / "moe", one_expert(weights, split=True)),
    }
    for path in layouts.values():
        initial = find_initial(path.parents[2], TOKENIZER)
        assert initial.prior_tokens == 64_000
        assert initial == find_initial(path, TOKENIZER)
        assert_equal(initial_weights(initial, SHAPE, 600), weights)


def test_bfloat16_weights_are_taken(weights: Tensors, tmp_path: Path) -> None:
    half = {name: tensor.bfloat16() for name, tensor in weights.items()}
    write(tmp_path / "half", half)
    found = initial_weights(find_initial(tmp_path / "half", TOKENIZER), SHAPE, 600)
    assert_equal(found, {name: tensor.float() for name, tensor in half.items()})


def test_what_is_another_model_says_why(weights: Tensors, tmp_path: Path) -> None:
    write(tmp_path / "plain", dict(weights))
    initial = find_initial(tmp_path / "plain", TOKENIZER)
    with pytest.raises(RequestError, match=r"vocabulary has 600 ids, the spec's tokenizer has 512"):
        initial_weights(initial, SHAPE, 512)
    deeper = SHAPE.model_copy(update={"layers": 3})
    with pytest.raises(RequestError, match=r"the checkpoint has \d+,\d+ parameters, the proxy has \d+,\d+"):
        initial_weights(initial, deeper, 600)
    for name, extra, said in (
        ("bias", {"decoder.layers.0.self_attention.linear_qkv.bias": torch.zeros(4)}, "no proxy has, such as decoder"),
        (
            "experts",
            {"decoder.layers.0.mlp.experts.local_experts.1.linear_fc1.weight": torch.zeros(4)},
            "second expert",
        ),
        ("head", {"output_layer.weight": torch.zeros(600, 32)}, "output layer differs from the embedding"),
        ("fp8", {"decoder.final_layernorm.weight": torch.ones(32).to(torch.float8_e4m3fn)}, "is in float8_e4m3fn; a"),
    ):
        write(tmp_path / name, {**weights, **extra})
        with pytest.raises(RequestError, match=said):
            initial_weights(find_initial(tmp_path / name, TOKENIZER), SHAPE, 600)


def test_what_is_missing_or_cut_is_named(weights: Tensors, tmp_path: Path) -> None:
    path = write(tmp_path / "cut", dict(weights))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 7 // 8])
    with pytest.raises(DamagedFileError, match=r"model_optim_rng\.pt.*truncated"):
        find_initial(tmp_path / "cut", TOKENIZER)
    path.unlink()
    with pytest.raises(RequestError, match="no such file"):
        find_initial(tmp_path / "cut", TOKENIZER)
    (tmp_path / "cut/latest_checkpointed_iteration.txt").write_text("300")
    with pytest.raises(RequestError, match="names iter_0000300, which does not exist"):
        find_initial(tmp_path / "cut", TOKENIZER)
    with pytest.raises(RequestError, match="no such checkpoint"):
        find_initial(tmp_path / "nothing", TOKENIZER)
    path = write(tmp_path / "pieces", dict(weights))
    (path.parent.parent / "mp_rank_01").mkdir()
    with pytest.raises(RequestError, match="split over 2 ranks"):
        find_initial(tmp_path / "pieces", TOKENIZER)
    torch.save({"model": dict(weights)}, path)
    with pytest.raises(RequestError, match=r"args\.consumed_train_samples or args\.seq_length is missing"):
        find_initial(path, TOKENIZER)


def test_a_malicious_pickle_is_refused_and_not_run(weights: Tensors, tmp_path: Path) -> None:
    mark = tmp_path / "it ran".replace(" ", "_")
    write(tmp_path / "zip", dict(weights), Malicious(mark))
    with pytest.raises(RequestError, match=r"references posix\.system.*nothing in it was run"):
        find_initial(tmp_path / "zip", TOKENIZER)
    plain = tmp_path / "plain.pt"
    plain.write_bytes(pickle.dumps({"args": Malicious(mark)}))
    with pytest.raises((RequestError, DamagedFileError)):
        find_initial(plain, TOKENIZER)
    assert not mark.exists()


def test_a_run_starts_from_a_run_and_from_its_export(make_request: MakeRequest, tmp_path: Path) -> None:
    first = make_request(steps=4, seed=7)
    record = train_run(first)
    folder = run_folder(Store(first.store), record.key)
    export_megatron(folder, tmp_path / "exported")
    sources = [find_initial(given, first.tokenizer.sha256) for given in (folder, tmp_path / "exported")]
    assert [initial.prior_tokens for initial in sources] == [record.consumed_tokens] * 2
    one, other = (initial_weights(initial, first.shape, 600) for initial in sources)
    assert_equal(one, other)
    for initial in sources:
        check_initial(initial, first.shape, 600, first.rope_base)
        with pytest.raises(RequestError, match="set `train.rope_base: 10000`"):
            check_initial(initial, first.shape, 600, 500_000)
        check_initial(initial, first.shape, 600, None)
    second = first.model_copy(update={"init_from": sources[0], "seed": 8})
    assert second.key != first.model_copy(update={"seed": 8}).key
    again = train_run(second)
    assert again.prior_tokens == record.consumed_tokens == again.init_from.prior_tokens  # type: ignore[union-attr]
    third = find_initial(run_folder(Store(first.store), again.key), first.tokenizer.sha256)
    assert third.prior_tokens == 2 * record.consumed_tokens
    with pytest.raises(RequestError, match="trained with tokenizer 000"):
        find_initial(folder, "1" * 64)


def test_a_torch_dist_checkpoint_is_held_against_its_index(make_request: MakeRequest, tmp_path: Path) -> None:
    request = make_request(steps=3)
    folder = checkpoint_path(run_folder(Store(request.store), train_run(request).key), 12)
    initial = InitialCheckpoint(path=str(folder), sha256="0" * 64, prior_tokens=1)
    gains = initial_weights(initial, request.shape, 600)["decoder.final_layernorm.weight"]
    assert not torch.equal(gains, torch.ones(32))  # as they were before the first step
    data = folder / "__0_0.distcp"
    whole = data.read_bytes()
    data.write_bytes(whole[:-100])
    with pytest.raises(DamagedFileError, match=r"__0_0\.distcp"):
        initial_weights(initial, request.shape, 600)
    data.write_bytes(whole)
    mark = tmp_path / "it_ran"
    (folder / ".metadata").write_bytes(pickle.dumps(Malicious(mark)))
    with pytest.raises(RequestError, match=r"references posix\.system"):
        initial_weights(initial, request.shape, 600)
    assert not mark.exists()
