"""Load the final weights of a finished run into a model, checked against the run's record."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.validation import StrictHandling
from megatron.core.models.gpt import GPTModel

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.ledger.location import locate
from mixproof.ledger.manifest import BUILDS, MANIFEST, Manifest, read_manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.checkpoint_files import checkpoint_path
from mixproof.train.model.model import build_model
from mixproof.train.model.reward_head import add_reward_head
from mixproof.train.record import RUN, RunRecord, read_run

from .safe_loading import check_pickles


@dataclass(frozen=True)
class FinishedRun:
    """A finished run and its location."""

    record: RunRecord
    folder: Path
    store: Store

    @property
    def architecture(self) -> Architecture:
        """Shape of the model."""
        return Architecture(**self.record.architecture.model_dump())

    @property
    def checkpoint(self) -> Path:
        """Path of the last checkpoint."""
        return checkpoint_path(self.folder, self.record.consumed_samples)

    def manifest(self) -> Manifest:
        """Read the manifest of the build that the run was trained on."""
        return read_manifest(self.store.path(f"{BUILDS}/{self.record.build}/{MANIFEST}"))


def open_finished_run(target: str | Path) -> FinishedRun:
    """Open a run by the path or URL of its folder or its `run.json`; its store may have been moved.

    Raises:
        RequestError: when there is no record, or the run failed.
        DamagedFileError: when a file of its last checkpoint differs from the record.
    """
    location = locate(target)
    folder = location.fetch()
    record = read_run(folder / RUN)
    if record.status != "done":
        raise RequestError(f"{location}: the run failed, so it has no final weights: {record.reason}")
    run = FinishedRun(record, folder, location.store)
    location.store.fetch(f"{location.name}/{run.checkpoint.relative_to(folder).as_posix()}")
    prefix = f"{run.checkpoint.relative_to(folder).as_posix()}/"
    for name, expected in record.files.items():
        if not name.startswith(prefix):
            continue
        found = sha256_of_file(folder / name) if (folder / name).is_file() else "missing"
        if found != expected:
            raise DamagedFileError(
                str(folder / name), "whole file", f"its SHA-256 is {found}, the run's record says {expected}"
            )
    return run


def load_model(run: FinishedRun, device: torch.device) -> GPTModel:
    """Build the run's model with its final weights; call inside `distributed.process_group`."""
    model = new_model(run, device)
    load_weights(model, run.checkpoint)
    return model.eval()


def new_model(run: FinishedRun, device: torch.device) -> GPTModel:
    """Build the run's model with its initial weights, and the head of a reward model."""
    record = run.record
    model = build_model(
        run.architecture,
        vocab_size=record.tokenizer.vocab_size,
        sequence_length=record.longest_sequence,
        rope_base=record.last_rope_base,
        seed=record.seed,
        device=device,
    )
    reward = None if record.post_training is None else record.post_training.reward
    if reward is not None:
        add_reward_head(model, record.architecture.hidden, reward.outputs, record.seed)
    return model


def load_weights(model: GPTModel, checkpoint: Path) -> None:
    """Load only the weights of a checkpoint in the torch_dist format.

    Raises:
        RequestError, DamagedFileError: those of `check_pickles`.
    """
    check_pickles(checkpoint)
    with warnings.catch_warnings():
        # Megatron uses torch's deprecated names
        warnings.filterwarnings("ignore", r"`load_state_dict` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", r"Please use DTensor instead", FutureWarning)
        loaded = dist_checkpointing.load(
            {"model": model.sharded_state_dict()}, str(checkpoint), strict=StrictHandling.ASSUME_OK_UNEXPECTED
        )
    model.load_state_dict(loaded["model"])


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights of a model by Megatron's names, on the CPU; `_extra_state` holds no weights."""
    return {name: parameter.detach().cpu() for name, parameter in model.named_parameters()}
