"""Checkpoints in Megatron's torch_dist format, written and read the same way on CPU and CUDA.

    checkpoints/iter_<consumed samples>/   common.pt, metadata.json, .metadata, __<rank>_0.distcp, files.json

A checkpoint holds model, optimizer, schedule, random-number state and consumed samples: everything the next step
depends on, so a resumed run continues bit for bit. It is written into a scratch folder, every file is synced to disk,
`files.json` (sizes and checksums) is written last, and the folder is renamed, so a partial checkpoint never counts. The
same state gives the same bytes, so a run's record does not show where it was interrupted.

Megatron's own save calls CUDA and hangs without psutil; torch's checkpoint writer with Megatron's planner writes the
same format without either. A run can resume on another number of ranks, with new random-number states; these models
draw no random numbers after initialization.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import warnings
from collections.abc import Mapping
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

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.files import scratch_beside
from mixproof.ledger.fingerprint import canonical_json, sha256_of_file
from mixproof.ledger.location import CHECKPOINTS
from mixproof.ledger.store.receipt import seal
from mixproof.train.checkpoint_files import FILES, checkpoint_files, checkpoint_path
from mixproof.train.distributed import Ranks
from mixproof.train.model.layer_history import read_layer_history
from mixproof.train.model.optimizer import parameters_of
from mixproof.train.model.random_numbers import random_state, set_random_state
from mixproof.train.model.state import TrainingState
from mixproof.train.ownership import Ownership

from .safe_loading import check_pickles

logger = logging.getLogger(__name__)


class _Writer(FileSystemWriter):
    """Torch's file writer without the path and random id that it would store in the checkpoint."""

    def storage_meta(self) -> StorageMeta | None:
        return None


class SaveStrategy(TorchDistSaveShardedStrategy):  # type: ignore[misc]  # megatron-core has no types
    """Megatron's torch_dist format, version 1, by torch's synchronous writer, which does not call CUDA."""

    def __init__(self) -> None:
        super().__init__("torch_dist", 1)

    def save(self, sharded_state_dict: dict[str, Any], checkpoint_dir: str | Path) -> None:
        """Write one rank's part; raises the error of the first rank that failed."""
        state, _, _ = _replace_state_dict_keys_with_sharded_keys(sharded_state_dict, self.keep_only_main_replica)
        planner = MCoreSavePlanner(dedup_replicated_tensors=not self.keep_only_main_replica, flatten_state_dict=False)
        try:
            save_sharded(
                mcore_to_pyt_state_dict(state, False),
                storage_writer=_Writer(checkpoint_dir, sync_files=False),
                planner=planner,
            )
        except CheckpointException as error:  # a BaseException, which `except Exception` would not catch
            raise error.failures[min(error.failures)][0] from error


def save_checkpoint(folder: Path, state: TrainingState, ranks: Ranks, ownership: Ownership) -> Path:
    """Write the checkpoint of `state`, on all ranks together.

    Raises:
        SupersededError: when another attempt has taken over the run.
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
        logger.info("saved checkpoint %s", target)
    ranks.barrier()
    return target


def load_checkpoint(path: Path, state: TrainingState, ranks: Ranks) -> None:
    """Load the checkpoint at `path` into a freshly built `state`; the schedule stays that of `state`.

    Raises:
        RequestError: when it was trained in a different dtype, since one run would mix two dtypes; when a pickle in it
            may run code.
        DamagedFileError: when a file does not have its recorded checksum.
    """
    facts = json.loads((path / FILES).read_bytes())
    if facts["dtype"] != state.dtype:
        raise RequestError(
            f"{path}: the run was started in {facts['dtype']} and would resume in {state.dtype}; "
            "finish it on the kind of device it was started on, or delete the run's folder to start again"
        )
    if damaged := ranks.agree(_first_damaged(path, facts["files"]) if ranks.first else ""):
        raise DamagedFileError(
            str(path / damaged),
            "whole file",
            f"its SHA-256 is not the one in {FILES}; delete {path}, and the run resumes from an earlier checkpoint",
        )
    check_pickles(path)
    same_ranks = facts["ranks"] == ranks.size
    strict = StrictHandling.RAISE_ALL if same_ranks else StrictHandling.ASSUME_OK_UNEXPECTED
    content = _content(state, ranks, loading=True, with_random=same_ranks)
    with warnings.catch_warnings():
        # Megatron uses torch's deprecated names
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
    if (saved_layers := read_layer_history(facts.get("layers"))) is not None:
        state.layers = state.layers.resumed(saved_layers, state.consumed_samples)
    # not from the checkpoint: a branch decays at other steps than the run that trained its trunk
    state.scheduler.step(state.consumed_samples)
    if same_ranks:
        set_random_state(loaded["random_numbers"], ranks.device)
    logger.info("loaded checkpoint %s", path)


def _first_damaged(path: Path, files: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the name of the first file whose checksum is not the recorded one, or ''."""
    return next((name for name, file in files.items() if sha256_of_file(path / name) != file["sha256"]), "")


def remove_checkpoints(paths: list[Path]) -> None:
    """Remove checkpoints; a kill in between leaves none that looks complete."""
    for path in paths:
        (path / FILES).unlink(missing_ok=True)
        shutil.rmtree(path)


def remove_scratch(folder: Path) -> None:
    """Remove the scratch folders of killed attempts."""
    for path in (folder / CHECKPOINTS).glob(".iter_*"):
        shutil.rmtree(path, ignore_errors=True)


def _content(state: TrainingState, ranks: Ranks, *, loading: bool, with_random: bool = True) -> dict[str, Any]:
    """Return the state as Megatron's sharded state dict."""
    model = state.model.sharded_state_dict()
    content: dict[str, Any] = {"model": model, "optimizer": _optimizer_content(state.optimizer, model, loading)}
    if with_random:
        numbers = None if loading else random_state(ranks.device)
        content["random_numbers"] = ShardedObject("random_numbers", numbers, (ranks.size,), (ranks.rank,))
    return content


def _optimizer_content(optimizer: torch.optim.AdamW, model: dict[str, Any], loading: bool) -> dict[str, Any]:
    if loading:
        for parameter in parameters_of(optimizer):  # AdamW allocates its moments at the first step: allocate them here
            optimizer.state[parameter] = {
                "step": torch.tensor(0.0),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
    content = optimizer.state_dict()
    steps = {float(moments["step"]) for moments in content["state"].values()}
    assert len(steps) == 1, "every weight has seen every step"
    # state_dict() returns the live moments: drop `step` from copies
    content["state"] = {
        number: {name: tensor for name, tensor in moments.items() if name != "step"}
        for number, moments in content["state"].items()
    }
    optim_state_to_sharding_state(content, get_param_id_to_sharded_param_map(model, parameters_of(optimizer)))
    content["common_step"] = steps.pop()
    return content


def _seal(scratch: Path, state: TrainingState, ranks: Ranks) -> None:
    """Sync every file to disk, then write and sync the list of files."""
    files = {}
    for path in sorted(path for path in scratch.rglob("*") if path.is_file()):
        _sync(path)
        name = path.relative_to(scratch).as_posix()
        files[name] = {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
    facts = {
        "consumed_samples": state.consumed_samples,
        "dtype": state.dtype,
        "layers": state.layers.to_json(),
        "ranks": ranks.size,
        "files": files,
    }
    (scratch / FILES).write_bytes(seal(canonical_json(facts)))
    _sync(scratch / FILES)
    _sync(scratch)


def _publish(scratch: Path, target: Path) -> None:
    if checkpoint_files(target) is not None:  # an earlier attempt saved it, with the same bytes
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
