"""Checkpoints: what goes in comes out, and only whole ones count."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.mapping import ShardedTensor

from mixproof.ledger.disk_errors import storage_error
from mixproof.ledger.errors import DamagedFileError, RequestError, SupersededError
from mixproof.train.checkpoint.checkpoint import SaveStrategy, load_checkpoint, remove_checkpoints, save_checkpoint
from mixproof.train.checkpoint_files import checkpoint_files, whole_checkpoints
from mixproof.train.distributed import Ranks
from mixproof.train.model.optimizer import parameters_of
from mixproof.train.model.state import TrainingState, build_state
from mixproof.train.ownership import Ownership
from mixproof.train.request import RunRequest
from weight_digest import weights_sha256

MakeRequest = Callable[..., RunRequest]


@pytest.fixture
def trained(make_request: MakeRequest, ranks: Ranks) -> TrainingState:
    """A state after three steps on made-up gradients."""
    state = build_state(make_request(), ranks)
    for step in range(3):
        for number, parameter in enumerate(parameters_of(state.optimizer)):
            parameter.grad = torch.full_like(parameter, 0.1 * number - 0.3 * step)
        state.optimizer.step()
        state.scheduler.step(4)
        state.consumed_samples += 4
    return state


@pytest.fixture
def owner(tmp_path: Path) -> Ownership:
    ownership = Ownership(tmp_path / "run")
    ownership.take()
    return ownership


def test_weights_have_the_names_of_transformer_engines_layers(
    trained: TrainingState, ranks: Ranks, owner: Ownership
) -> None:
    path = save_checkpoint(owner.folder, trained, ranks, owner)
    names = {name for name in dist_checkpointing.load_tensors_metadata(str(path)) if not name.startswith("optimizer.")}
    assert names == {
        "embedding.word_embeddings.weight",
        "decoder.layers.self_attention.linear_qkv.layer_norm_weight",
        "decoder.layers.self_attention.linear_qkv.weight",
        "decoder.layers.self_attention.linear_proj.weight",
        "decoder.layers.mlp.linear_fc1.layer_norm_weight",
        "decoder.layers.mlp.linear_fc1.weight",
        "decoder.layers.mlp.linear_fc2.weight",
        "decoder.final_layernorm.weight",
    }


def test_a_state_comes_back_bit_for_bit(
    trained: TrainingState, make_request: MakeRequest, ranks: Ranks, owner: Ownership
) -> None:
    path = save_checkpoint(owner.folder, trained, ranks, owner)
    fresh = build_state(make_request(), ranks)
    assert weights_sha256(fresh.model) != weights_sha256(trained.model)
    load_checkpoint(path, fresh, ranks)
    assert weights_sha256(fresh.model) == weights_sha256(trained.model)
    assert fresh.consumed_samples == 12
    assert fresh.scheduler.num_steps == 12
    assert [group["lr"] for group in fresh.optimizer.param_groups] == [
        group["lr"] for group in trained.optimizer.param_groups
    ]
    for ours, theirs in zip(parameters_of(fresh.optimizer), parameters_of(trained.optimizer), strict=True):
        for name in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(fresh.optimizer.state[ours][name], trained.optimizer.state[theirs][name])


def test_the_same_state_gives_the_same_bytes(trained: TrainingState, ranks: Ranks, tmp_path: Path) -> None:
    files = []
    for place in ("here", "there"):
        ownership = Ownership(tmp_path / place)
        ownership.take()
        files.append(checkpoint_files(save_checkpoint(ownership.folder, trained, ranks, ownership)))
    assert files[0] == files[1]
    assert set(files[0] or ()) == {".metadata", "__0_0.distcp", "common.pt", "metadata.json"}


@pytest.mark.filterwarnings(
    # Megatron loads by torch's older names
    "ignore:`load_state_dict` is deprecated:FutureWarning",
    "ignore:Please use DTensor instead:FutureWarning",
)
def test_megatron_reads_it_without_a_model(trained: TrainingState, ranks: Ranks, owner: Ownership) -> None:
    path = save_checkpoint(owner.folder, trained, ranks, owner)
    assert json.loads((path / "metadata.json").read_bytes())["sharded_backend"] == "torch_dist"
    tensors = dist_checkpointing.load_plain_tensors(str(path))
    weights = dict(trained.model.named_parameters())["embedding.word_embeddings.weight"]
    assert torch.equal(tensors["embedding.word_embeddings.weight"], weights)


def test_only_whole_checkpoints_count(trained: TrainingState, ranks: Ranks, owner: Ownership) -> None:
    first = save_checkpoint(owner.folder, trained, ranks, owner)
    trained.consumed_samples += 4
    second = save_checkpoint(owner.folder, trained, ranks, owner)
    assert whole_checkpoints(owner.folder) == [first, second]
    data = second / "__0_0.distcp"
    whole = data.read_bytes()
    data.write_bytes(whole[:-1])
    assert whole_checkpoints(owner.folder) == [first]
    save_checkpoint(owner.folder, trained, ranks, owner)
    assert data.read_bytes() == whole
    remove_checkpoints([first])
    assert whole_checkpoints(owner.folder) == [second]


def test_a_state_of_other_arithmetic_is_refused(
    trained: TrainingState, make_request: MakeRequest, ranks: Ranks, owner: Ownership
) -> None:
    path = save_checkpoint(owner.folder, trained, ranks, owner)
    fresh = build_state(make_request(), ranks)
    fresh.dtype = "bfloat16"
    with pytest.raises(RequestError, match="started in float32 and would resume in bfloat16"):
        load_checkpoint(path, fresh, ranks)


@pytest.mark.parametrize("name", ["__0_0.distcp", "common.pt", ".metadata", "metadata.json"])
def test_a_flipped_bit_is_found_before_the_run_resumes_from_it(
    name: str, trained: TrainingState, make_request: MakeRequest, ranks: Ranks, owner: Ownership
) -> None:
    path = save_checkpoint(owner.folder, trained, ranks, owner)
    data = bytearray((path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (path / name).write_bytes(data)
    assert whole_checkpoints(owner.folder) == [path]  # by sizes, which is all that a listing can tell
    with pytest.raises(DamagedFileError, match=rf"{name}.* SHA-256 is not the one in files.json; delete .*iter_0*12,"):
        load_checkpoint(path, build_state(make_request(), ranks), ranks)


def test_an_attempt_that_lost_its_run_saves_nothing(trained: TrainingState, ranks: Ranks, owner: Ownership) -> None:
    Ownership(owner.folder).take()
    with pytest.raises(SupersededError):
        save_checkpoint(owner.folder, trained, ranks, owner)
    assert not (owner.folder / "checkpoints").exists()


@pytest.mark.usefixtures("ranks")
def test_a_full_disk_is_known_behind_what_torch_raises(tmp_path: Path) -> None:
    (tmp_path / "__0_0.distcp").symlink_to("/dev/full")
    with pytest.raises((OSError, RuntimeError)) as raised:  # whether its buffer or its archive meets the end
        SaveStrategy().save({"weight": ShardedTensor.from_rank_offsets("weight", torch.ones(1000))}, tmp_path)
    assert "no space is left on a disk" in str(storage_error(raised.value))
