"""Checkpoints in Megatron's torch_dist format, written and read alike on CPU and CUDA.

    checkpoints/iter_<consumed samples>/   common.pt, metadata.json, .metadata, __<rank>_0.distcp, files.json

A checkpoint holds model, optimizer, schedule, random-number state and consumed samples: all that the next step
depends on, so that a resumed run goes on bit for bit. It is written into a scratch folder, every file is put on
disk, `files.json` (sizes and checksums) comes last, and the folder is renamed: a half-written one never counts.
The same state gives the same bytes, so a run's record does not show where it was interrupted.

Megatron's own save calls CUDA and hangs where psutil is missing; torch's checkpoint writer with Megatron's planner
writes the same format without either. Another number of ranks can go on from a checkpoint, with new random-number
states; these models draw no random numbers after their first weights.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.mapping import ShardedObject
from megatron.core.dist_checkpointing.optimizer import (
    get_param_id_to_sharded_param_map,
    optim_state_to_sharding_state,
)
from megatron.core.dist_checkpointing.strategies.torch import (
    MCoreSavePlanner,
    TorchDistSaveShardedStrategy,
    _replace_state_dict_keys_with_sharded_keys,
    mcore_to_pyt_state_dict,
)
from megatron.core.dist_checkpointing.validation import StrictHandling
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.metadata import StorageMeta
from torch.distributed.checkpoint.state_dict_saver import save as save_sharded

from mixproof.ledger.errors import RequestError
from mixproof.ledger.files import scratch_beside
from mixproof.ledger.fingerprint import canonical_json, sha256_of_file
from mixproof.ledger.location import CHECKPOINTS
from mixproof.ledger.receipt import seal
from mixproof.train.checkpoint_files import FILES, checkpoint_files, checkpoint_path
from mixproof.train.distributed import Ranks
from mixproof.train.model.layer_history import continued
from mixproof.train.model.optimizer import parameters_of
from mixproof.train.model.random_numbers import random_numbers, set_random_numbers
from mixproof.train.model.state import TrainingState
from mixproof.train.ownership import Ownership


class _Writer(FileSystemWriter):
    """Torch's file writer without the place and the random name that it would put into the checkpoint."""

    def storage_meta(self) -> StorageMeta | None:
        return None


class SaveStrategy(TorchDistSaveShardedStrategy):  # type: ignore[misc]  # megatron-core has no types
    """Megatron's torch_dist format, version 1, by torch's synchronous writer: no call to CUDA."""

    def __init__(self) -> None:
        super().__init__("torch_dist", 1)

    def save(self, sharded_state_dict: dict[str, Any], checkpoint_dir: str | Path) -> None:
        """Write one rank's part; raises what the first rank that failed did."""
        state, _, _ = _replace_state_dict_keys_with_sharded_keys(sharded_state_dict, self.keep_only_main_replica)
        planner = MCoreSavePlanner(dedup_replicated_tensors=not self.keep_only_main_replica, flatten_state_dict=False)
        try:
            save_sharded(
                mcore_to_pyt_state_dict(state, False),
                storage_writer=_Writer(checkpoint_dir, sync_files=False),
                planner=planner,
            )
        except CheckpointException as error:  # a BaseException, which nobody who tells of errors would see
            raise error.failures[min(error.failures)][0] from error


def save_checkpoint(folder: Path, state: TrainingState, ranks: Ranks, ownership: Ownership) -> Path:
    """Write the checkpoint of `state`, on all ranks together.

    Raises:
        SupersededError: when another attempt has taken the run over.
    """
    target = checkpoint_path(folder, state.consumed_samples)
    scratch = scratch_beside(target, ownership.name)
    if ranks.first:
        ownership.check()
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
    ranks.barrier()
    content = _content(state, ranks, loading=False)
    content["scheduler"] = state.scheduler.state_dict()
    content["consumed_samples"] = state.consumed_samples
    dist_checkpointing.save(content, str(scratch), SaveStrategy())
    if ranks.first:
        _seal(scratch, state, ranks)
        ownership.check()
        _publish(scratch, target)
    ranks.barrier()
    return target


def load_checkpoint(path: Path, state: TrainingState, ranks: Ranks) -> None:
    """Bring a freshly built `state` to where the checkpoint at `path` was taken; the schedule stays that of `state`.

    Raises:
        RequestError: when it was trained in another arithmetic, which would make one run of two kinds.
    """
    facts = json.loads((path / FILES).read_bytes())
    if facts["dtype"] != state.dtype:
        raise RequestError(
            f"{path}: the run was started in {facts['dtype']} and would go on in {state.dtype}; "
            "finish it on the kind of device it was started on, or delete the run's folder"
        )
    same_ranks = facts["ranks"] == ranks.size
    strict = StrictHandling.RAISE_ALL if same_ranks else StrictHandling.ASSUME_OK_UNEXPECTED
    content = _content(state, ranks, loading=True, with_random=same_ranks)
    with warnings.catch_warnings():
        # Megatron loads by torch's older names
        warnings.filterwarnings("ignore", r"`load_state_dict` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", r"Please use DTensor instead", FutureWarning)
        loaded = dist_checkpointing.load(content, str(path), strict=strict)
    state.model.load_state_dict(loaded["model"])
    optimizer = loaded["optimizer"]
    step = optimizer.pop("common_step")
    for moments in optimizer["state"].values():
        moments["step"] = torch.tensor(step)
    state.optimizer.load_state_dict(optimizer)
    state.consumed_samples = loaded["consumed_samples"]
    state.layers = continued(state.layers, facts.get("layers", state.layers), state.consumed_samples)
    # not from the checkpoint: a branch decays elsewhere than the run that trained its trunk, and is there as far
    state.scheduler.step(state.consumed_samples)
    if same_ranks:
        set_random_numbers(loaded["random_numbers"], ranks.device)


def remove_checkpoints(paths: list[Path]) -> None:
    """Remove checkpoints so that a kill in between leaves none that looks whole."""
    for path in paths:
        (path / FILES).unlink(missing_ok=True)
        shutil.rmtree(path)


def remove_scratch(folder: Path) -> None:
    """Remove what killed attempts left behind."""
    for path in (folder / CHECKPOINTS).glob(".iter_*"):
        shutil.rmtree(path, ignore_errors=True)


def _content(state: TrainingState, ranks: Ranks, *, loading: bool, with_random: bool = True) -> dict[str, Any]:
    """The state as Megatron's sharded state dict."""
    model = state.model.sharded_state_dict()
    content: dict[str, Any] = {"model": model, "optimizer": _optimizer_content(state.optimizer, model, loading)}
    if with_random:
        numbers = None if loading else random_numbers(ranks.device)
        content["random_numbers"] = ShardedObject("random_numbers", numbers, (ranks.size,), (ranks.rank,))
    return content


def _optimizer_content(optimizer: torch.optim.AdamW, model: dict[str, Any], loading: bool) -> dict[str, Any]:
    if loading:
        for parameter in parameters_of(optimizer):  # AdamW makes its moments at the first step: make room for them
            optimizer.state[parameter] = {
                "step": torch.tensor(0.0),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
    content = optimizer.state_dict()
    steps = {float(moments["step"]) for moments in content["state"].values()}
    assert len(steps) == 1, "every weight has seen every step"
    # state_dict() hands out the live moments: leave `step` out of copies
    content["state"] = {
        number: {name: tensor for name, tensor in moments.items() if name != "step"}
        for number, moments in content["state"].items()
    }
    optim_state_to_sharding_state(content, get_param_id_to_sharded_param_map(model, parameters_of(optimizer)))
    content["common_step"] = steps.pop()
    return content


def _seal(scratch: Path, state: TrainingState, ranks: Ranks) -> None:
    """Put every file on disk, then the list of them."""
    files = {}
    for path in sorted(path for path in scratch.rglob("*") if path.is_file()):
        _sync(path)
        name = path.relative_to(scratch).as_posix()
        files[name] = {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
    facts = {
        "consumed_samples": state.consumed_samples,
        "dtype": state.dtype,
        "layers": state.layers,
        "ranks": ranks.size,
        "files": files,
    }
    (scratch / FILES).write_bytes(seal(canonical_json(facts)))
    _sync(scratch / FILES)
    _sync(scratch)


def _publish(scratch: Path, target: Path) -> None:
    if checkpoint_files(target) is not None:  # an earlier attempt got as far; its bytes are the same
        shutil.rmtree(scratch)
        return
    shutil.rmtree(target, ignore_errors=True)
    scratch.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
